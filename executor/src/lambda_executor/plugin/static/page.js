"use strict";
// Everything that comes from the server is written as text, never as HTML.

const $ = (id) => document.getElementById(id);
const isFramed = window.top !== window;

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children.map((child) => child ?? ""));
  return made;
}

const put = (id, ...children) => $(id).replaceChildren(...children);
const none = (text) => element("p", { className: "none" }, text);

function table(caption, headings, rows) {
  const cells = rows.map((row) => row.map((cell) => typeof cell === "number" ? number(String(cell))
    : cell.nodeName === "TD" ? cell : element("td", {}, cell)));
  const head = headings.map((text, index) => element("th",
    { scope: "col", className: cells.every((row) => row[index].className) ? "number" : "" }, text));
  const made = element("table", {}, element("thead", {}, element("tr", {}, ...head)),
    element("tbody", {}, ...cells.map((row) => element("tr", {}, ...row))));
  made.setAttribute("aria-label", caption);
  return made;
}

const number = (text) => element("td", { className: "number" }, text);

function seconds(value) {
  if (value === null) return "–";
  if (value < 10) return `${value.toFixed(1)} s`;
  return value < 600 ? `${Math.round(value)} s` : `${Math.round(value / 60)} min`;
}

const time = (text) => (text ? new Date(text).toLocaleString() : "–");

function share(part, all) {
  return part === null || !all ? "unknown" : `${((100 * part) / all).toFixed(1)} %`;
}

// What could not be read, and the permission that the API server's role lacks.
function problem(answer) {
  const parts = [element("p", {}, answer.problem)];
  if (answer.missing) {
    const { action, resource } = answer.missing;
    const what = [element("code", {}, action)];
    if (resource) what.push(" on ", element("code", {}, resource));
    parts.unshift(element("p", { className: "bad" }, "This API server's role lacks ", ...what));
  }
  return element("div", { className: "problem" }, ...parts);
}

const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

// The server reads a few panels at once; who asks for more is told so at once, and asks again.
async function patiently(path, options) {
  for (let tries = 1; ; tries += 1) {
    const response = await fetch(path, { credentials: "same-origin", ...options });
    if (response.status !== 503 || options.method || tries === 5) return response;
    await pause(1000 * tries);
  }
}

async function ask(path, body) {
  const options = body === undefined ? {} : {
    method: "POST", body: JSON.stringify(body),
    headers: { "Content-Type": "application/json", "X-Lambda-Executor": "page" },
  };
  try {
    const response = await patiently(path, options);
    if (response.ok) return await response.json();
    if (response.status === 401) return { problem: "You are logged out: log in to Airflow again." };
    const text = await response.json().then((answer) => answer.detail, () => response.statusText);
    const detail = Array.isArray(text) ? text.map((one) => one.msg).join("; ") : text;
    return { problem: `The API server answers ${response.status}: ${detail}` };
  } catch (error) {
    return { problem: `The API server cannot be reached: ${error.message}` };
  }
}

async function panel(id, path, show) {
  $(id).setAttribute("aria-busy", "true");
  try {
    const answer = await ask(path);
    put(id, ...(answer.problem ? [problem(answer)] : show(answer)));
    return answer;
  } catch (error) {
    put(id, problem({ problem: `This answer cannot be shown: ${error.message}` }));
    return { problem: error.message };
  } finally {
    $(id).removeAttribute("aria-busy");
  }
}

const shows = {
  inFlight(answer) {
    const states = ["queued", "running", "restarting"];
    const rows = answer.rows.map((row) =>
      [row.target || "unknown", row.queue, ...states.map((state) => row.states[state] ?? 0)]);
    const waiting = answer.scheduled
      ? `${answer.scheduled} more are scheduled, until a function, a pool or another limit has room.`
      : "No more are scheduled.";
    const oldest = answer.oldest.map((each) =>
      `The oldest of ${each.count} ${each.state} was queued ${time(each.oldest_at)}.`);
    return [
      rows.length ? table("In flight", ["target", "queue", ...states], rows) : none("Nothing is in flight."),
      element("p", {}, waiting), ...oldest.map((text) => element("p", { className: "hint" }, text)),
    ];
  },
  durations(answer) {
    if (!answer.rows.length) return [none("No task has ended in this time.")];
    const of = (what) => answer.shares.map((each) => `${what} p${each}`);
    const rows = answer.rows.map((row) => [row.target || "unknown", row.queue, row.tasks,
      ...[...row.waits_s, ...row.runs_s].map((value) => number(seconds(value)))]);
    const shown = [table("Waiting and running", ["target", "queue", "tasks", ...of("wait"), ...of("run")], rows)];
    if (answer.is_cut) shown.push(none("Only the newest 5,000 tasks are counted."));
    return shown;
  },
  starts(answer) {
    if (!answer.rows.length) return [none("No function is configured.")];
    const rows = answer.rows.map((row) => [row.function, number(row.invocations ?? "unknown"),
      number(share(row.cold, row.invocations)), number(share(row.restored, row.invocations)),
      number(row.throttles ?? "unknown")]);
    const cut = answer.is_cut ? [none("Some are missing: CloudWatch is asked once, for at most 125 functions.")] : [];
    return [table("Starts", ["function", "invocations", "cold", "restored", "throttles"], rows), ...cut,
      element("p", { className: "hint" },
        "From CloudWatch, some minutes late. Without the observability stack nobody counts cold and restored starts.")];
  },
  failures(answer) {
    if (!answer.rows.length) return [none("The executor has failed no task.")];
    return [table("Latest failures", ["when", "task", "reason"],
      answer.rows.map((row) => [time(row.at), row.task, row.reason]))];
  },
  wiring({ wiring }) {
    const pairs = [["read from", wiring.source], ["Region", wiring.region],
      ["payload bucket", wiring.payload_bucket || "none"], ["log groups", wiring.log_groups.join(", ") || "–"],
      ...Object.entries(wiring.max_in_flight).map(([name, most]) => [`max_in_flight of ${name}`, most])];
    return [list(pairs), table("Targets", ["queue", "target"],
      wiring.targets.map((each) => [each.queue, each.target]))];
  },
};

function list(pairs) {
  return element("dl", {}, ...pairs.flatMap(([name, value]) =>
    [element("dt", {}, name), element("dd", {}, value instanceof Node ? value : String(value))]));
}

async function depths(rows) {
  return Promise.all(rows.map(async (queue, index) => {
    const depth = await ask(`api/queues/${index}`);
    return depth.problem ? [queue.subject, queue.name, problem(depth), ""]
      : [queue.subject, queue.name, depth.visible, depth.hidden];
  }));
}

async function queues(named) {
  const answer = await named;
  put("queues", answer.problem ? problem(answer)
    : table("Queues", ["queue", "name", "visible", "hidden"], await depths(answer.rows)));
}

let mine = {};
let isRefreshing = false;

async function refresh() {
  if (isRefreshing) return;
  isRefreshing = true;
  $("refresh").disabled = true;
  say("Refreshing");
  try {
    await refreshed($("hours").value);
    say(`Refreshed at ${new Date().toLocaleTimeString()}`);
  } catch (error) {
    say(`The page could not be refreshed: ${error.message}`);
  } finally {
    isRefreshing = false;
    $("refresh").disabled = false;
  }
}

// The wiring has the names of targets: the panels that show them wait for it, but not for long.
async function refreshed(hours) {
  if (!mine.see) return;
  const wiring = mine.read_wiring && panel("wiring", "api/wiring", shows.wiring);
  const named = Promise.resolve(wiring).then(() => ask("api/queues"));
  await Promise.race([named, pause(2000)]);
  await Promise.all([
    wiring,
    panel("in-flight", "api/in-flight", shows.inFlight),
    queues(named),
    panel("durations", `api/durations?hours=${hours}`, shows.durations),
    panel("starts", `api/starts?hours=${hours}`, shows.starts),
    mine.read_tasks && panel("failures", "api/failures", shows.failures),
  ]);
}

const say = (text) => { $("said").textContent = text; };

function confirmed(question, yes) {
  const dialog = $("confirm");
  $("question").textContent = question;
  $("yes").textContent = yes;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

async function lookAtDeadLetters() {
  await panel("dead-letters", "api/dead-letters", (answer) => {
    const hidden = answer.withheld
      ? [none(`${answer.withheld} more are of DAGs that Airflow does not let you read.`)] : [];
    if (!answer.rows.length) return hidden.length ? hidden : [none("No dead letter is visible.")];
    const rows = answer.rows.map((row) => {
      const retry = element("button", { type: "button" }, "Retry");
      retry.setAttribute("aria-label", `Retry ${row.task || row.id}`);
      retry.addEventListener("click", () => retryOne(row));
      return [row.task || row.id || "no invocation", row.reason, row.request_id ?? "–",
        row.age_s === null ? "–" : number(seconds(row.age_s)),
        row.reason_against || !mine.change ? row.reason_against : retry];
    });
    return [table("Dead letters", ["task", "reason", "request id", "age", "retry"], rows), ...hidden];
  });
}

async function retryOne(row) {
  if (!await confirmed(`Send the invocation of ${row.task} again?`, "Retry")) return;
  const answer = await ask("api/dead-letters/retry", { id: row.id });
  say(answer.problem ?? (answer.left || `${row.task} was sent again.`));
  await lookAtDeadLetters();
  $("look").focus();
}

async function purge() {
  if (!await confirmed("Delete up to 100 dead letters that no task waits for?", "Purge")) return;
  const answer = await ask("api/dead-letters/purge", {});
  const failed = answer.refused ? `, ${answer.refused} could not be` : "";
  const withheld = answer.withheld ? `, ${answer.withheld} are of DAGs that you may not change` : "";
  say(answer.problem ?? `${answer.deleted} deleted${failed}, ${answer.kept} kept for tasks in flight${withheld}.`);
  await lookAtDeadLetters();
  $("purge").focus();
}

async function examine() {
  $("examine").disabled = true;
  put("doctor", none("The doctor examines the environment; that may take a minute."));
  try {
    const answer = await ask("api/doctor", {});
    put("doctor", answer.problem ? problem(answer) : findings(answer.findings));
  } finally {
    $("examine").disabled = false;
    $("examine").focus();
  }
}

function findings(found) {
  const words = { ok: "ok", problem: "to fix", unknown: "unknown" };
  const classes = { ok: "good", problem: "bad", unknown: "unknown" };
  const order = ["problem", "unknown", "ok"];
  found.sort((one, other) => order.indexOf(one.verdict) - order.indexOf(other.verdict));
  const rows = found.map((each) => {
    const parts = [element("div", {}, each.of ? `${each.of}: ${each.detail}` : each.detail)];
    if (each.fix) parts.push(element("div", {}, `Fix: ${each.fix}`));
    if (each.command) parts.push(element("div", {}, element("code", {}, each.command)));
    if (each.help) parts.push(element("div", {}, "Help: ", link(each.help)));
    return [element("span", { className: classes[each.verdict] }, words[each.verdict]), each.subject,
      element("div", {}, ...parts)];
  });
  return table("Findings", ["", "what", "finding"], rows);
}

// Airflow's frame opens no windows: there the address is shown, to be copied.
function link(address) {
  return isFramed ? element("code", {}, address)
    : element("a", { href: address, target: "_blank", rel: "noopener noreferrer" }, address);
}

async function find() {
  const fields = Object.fromEntries(new FormData($("task")));
  if (!fields.try_number) delete fields.try_number;
  if (!fields.map_index) delete fields.map_index;
  const answer = await panel("invocation", `api/invocation?${new URLSearchParams(fields)}`, (found) => {
    const pairs = [["task", found.task], ["state", found.state], ["target", found.target],
      ["dispatch id", found.dispatch_id], ["request id", found.request_id || "not known"],
      ["environment", found.host], ["queued", time(found.queued_at)],
      ["started", time(found.started_at)], ["ended", time(found.ended_at)], ["reason", found.reason],
      ["log group", found.log_group],
      ["log", found.log_url && link(found.log_url)], ["console", found.console_url && link(found.console_url)]];
    return [list(pairs.filter(([, value]) => value))];
  });
  say(answer.problem ? "The invocation could not be found." : "Found what is known about the invocation.");
}

function theme() {
  const wanted = localStorage.getItem("theme");  // Airflow's own choice.
  const isDark = wanted === "dark" || (wanted !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = isDark ? "dark" : "light";
}

let timer;
function again() {
  clearInterval(timer);
  const every = Number($("every").value);
  if (every) timer = setInterval(() => { if (!document.hidden) refresh(); }, every * 1000);
}

async function begin() {
  theme();
  addEventListener("storage", theme);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", theme);
  mine = await ask("api/rights");
  if (mine.problem) { say(mine.problem); return; }
  for (const each of document.querySelectorAll("[data-right]")) {
    each.hidden = !mine.see || !mine[each.dataset.right];
  }
  $("controls").addEventListener("submit", (event) => { event.preventDefault(); refresh(); });
  $("task").addEventListener("submit", (event) => { event.preventDefault(); find(); });
  $("hours").addEventListener("change", refresh);
  $("every").addEventListener("change", again);
  $("look").addEventListener("click", lookAtDeadLetters);
  $("purge").addEventListener("click", purge);
  $("examine").addEventListener("click", examine);
  const asked = new URLSearchParams(location.search);
  for (const [name, value] of asked) if ($("task").elements[name]) $("task").elements[name].value = value;
  await refresh();
  if (asked.has("task_id")) await find();
}

begin();
