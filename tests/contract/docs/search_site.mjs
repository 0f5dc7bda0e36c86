// Searches a built site with the site's own script: node search_site.mjs <site>, with a JSON list of
// texts at stdin. Prints for each text the places that are found, the best page first, and of each
// page its sections in their order. The script is a web worker, so this stands for the page.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import vm from "node:vm";

const site = process.argv[2];
const workers = join(site, "assets", "javascripts", "workers");
const script = readdirSync(workers).find((name) => /^search\..*\.js$/.test(name));

let handle;
let answered;
globalThis.self = globalThis;
globalThis.addEventListener = (_, listener) => { handle = listener; };
globalThis.postMessage = (message) => answered(message);
vm.runInThisContext(readFileSync(join(workers, script), "utf-8"));

function ask(type, data) {
  const answer = new Promise((resolve) => { answered = resolve; });
  handle({ data: { type, data } });
  return answer;
}

const SETUP = 0;
const QUERY = 2;
const index = JSON.parse(readFileSync(join(site, "search", "search_index.json"), "utf-8"));
await ask(SETUP, { ...index, options: { suggest: false } });
const found = {};
for (const text of JSON.parse(readFileSync(0, "utf-8"))) {
  const { data } = await ask(QUERY, text);
  found[text] = data.items.map((sections) => sections.map((section) => section.location));
}
console.log(JSON.stringify(found));
