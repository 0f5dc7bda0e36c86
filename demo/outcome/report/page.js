"use strict";
const { tries } = JSON.parse(document.getElementById("data").textContent);
const form = document.querySelector("form");
const details = document.getElementById("details");
const bars = [...document.querySelectorAll("a.bar")];

const ms = (value) => (value === null ? "nobody knows" : `${Math.round(value)} ms`);

function show(bar) {
  const number = bar.dataset.try;
  const one = tries[number];
  const outcome = one.outcome === "completed" ? "" : ` (${one.outcome})`;
  details.textContent =
    `${one.dag}, ${one.task}, try ${one.try}: ${one.state}${outcome} · ${one.start} · ` +
    `wait ${ms(one.wait_ms)} · run ${ms(one.run_ms)} · ${one.target} ${one.name}, ${one.environment}`;
  details.hidden = false;
  for (const wait of document.querySelectorAll(".track .wait")) {
    wait.classList.toggle("shown", wait.dataset.try === number);
  }
}

function filter() {
  const dag = form.elements.dag.value;
  const isOther = (element) => dag !== "" && tries[element.dataset.try].dag !== dag;
  for (const row of document.querySelectorAll("tr[data-try]")) row.hidden = isOther(row);
  for (const drawn of document.querySelectorAll(".track [data-try]")) {
    drawn.classList.toggle("other", isOther(drawn));
  }
  enter(shown()[0]);
}

// One bar takes part in the order of the Tab key; the arrow keys go on from it.
const shown = () => bars.filter((bar) => !bar.classList.contains("other"));

function enter(bar) {
  for (const each of bars) each.tabIndex = each === bar ? 0 : -1;
}

function go(from, key) {
  const all = shown();
  const lanes = [...new Set(all.map((bar) => bar.parentElement))];
  const of = (lane) => all.filter((bar) => bar.parentElement === lane);
  const lane = lanes.indexOf(from.parentElement);
  const inLane = of(from.parentElement);
  const place = inLane.indexOf(from);
  const middle = (bar) => bar.offsetLeft + bar.offsetWidth / 2;
  const nearest = (next) =>
    next && of(next).sort((a, b) => Math.abs(middle(a) - middle(from)) - Math.abs(middle(b) - middle(from)))[0];
  return {
    ArrowRight: () => inLane[place + 1],
    ArrowLeft: () => inLane[place - 1],
    ArrowDown: () => nearest(lanes[lane + 1]),
    ArrowUp: () => nearest(lanes[lane - 1]),
    Home: () => inLane[0],
    End: () => inLane[inLane.length - 1],
  }[key]?.();
}

for (const bar of bars) {
  bar.addEventListener("pointerenter", () => show(bar));
  bar.addEventListener("focus", () => {
    enter(bar);
    show(bar);
  });
  bar.addEventListener("keydown", (event) => {
    const next = go(bar, event.key);
    if (next) {
      event.preventDefault();
      next.focus();
    }
  });
}
form.addEventListener("submit", (event) => event.preventDefault());
form.elements.dag.addEventListener("change", filter);
form.elements.zoom.addEventListener("input", (event) => {
  document.querySelector(".timeline").style.setProperty("--zoom", event.target.value);
});
form.hidden = false;
filter();
