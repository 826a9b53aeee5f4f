// The page at /: asks all systems of a champion at once and shows their answers as they come.
"use strict";

const $ = (id) => document.getElementById(id);
const SYSTEMS = [["", "Cache-to-Cache"], ["/receiver", "Receiver alone"], ["/sharer", "Sharer alone"], ["/text-relay", "Text relay"]];
let champions = [];
let running = null;

function headers() {
  const key = $("key").value;
  return { "Content-Type": "application/json", ...(key ? { Authorization: `Bearer ${key}` } : {}) };
}

async function load() {
  const response = await fetch("/champions", { headers: headers() });
  if (response.status === 401) {
    $("key-label").hidden = false;
    $("problem").textContent = "This server asks for its API key.";
    return;
  }
  champions = await response.json();
  $("problem").textContent = "";
  $("champion").replaceChildren(...champions.map((one) => new Option(one.name, one.name)));
  show();
}

function chosen() {
  return champions.find((one) => one.name === $("champion").value);
}

function show() {
  const one = chosen();
  if (!one) return;
  $("pair").textContent = `${one.sharer} speaks, ${one.receiver} answers (injection ${one.injection}, message ${one.message}).`;
  $("context-label").hidden = !one.reads_document;
  const heard = new Map(one.layers.map((each) => [each.layer, each]));
  const columns = [];
  for (let layer = 0; layer < one.receiver_layers; layer++) columns.push(column(layer, heard.get(layer)));
  $("gates").replaceChildren(...columns);
  $("gates").setAttribute("aria-label", one.layers.map((each) => `layer ${each.layer}: keys ${percent(each.keys)}, values ${percent(each.values)}, from sharer layer ${each.sources.join(", ")}`).join("; "));
  $("legend").textContent = `${one.layers.length} of the receiver's ${one.receiver_layers} layers hear the sharer. Striped: how far keys are let through; solid: values.`;
  $("listening").hidden = false;
}

const percent = (share) => `${Math.round(100 * share)} %`;

function column(layer, heard) {
  const made = document.createElement("div");
  made.className = "layer";
  const bars = document.createElement("div");
  bars.className = "bars";
  for (const kind of ["keys", "values"]) {
    const bar = document.createElement("i");
    bar.className = kind;
    bar.style.height = heard ? `${Math.max(1, Math.min(1, heard[kind]) * 110)}px` : "0";
    bars.append(bar);
  }
  made.title = heard ? `layer ${layer} from ${heard.sources.join(", ")}: keys ${percent(heard.keys)}, values ${percent(heard.values)}` : `layer ${layer} hears nothing`;
  made.append(bars, String(layer));
  return made;
}

function card(title, champion) {
  const made = document.createElement("article");
  if (champion) made.className = "champion";
  const head = document.createElement("h2");
  head.textContent = title;
  const text = document.createElement("div");
  text.className = "text";
  const meta = document.createElement("p");
  meta.className = "meta";
  meta.textContent = "waiting";
  made.append(head, text, meta);
  return { made, text, meta };
}

async function ask(system, shown, signal) {
  const one = chosen();
  const context = one.reads_document ? $("context").value : "";
  const begun = performance.now();
  const response = await fetch("/v1/chat/completions", {
    method: "POST", headers: headers(), signal,
    body: JSON.stringify({
      model: one.name + system, messages: [{ role: "user", content: $("question").value }],
      max_tokens: Number($("tokens").value), stream: true, stream_options: { include_usage: true },
      ...(context && system !== "/receiver" ? { sharer_context: context } : {}),
    }),
  });
  if (!response.ok) throw new Error((await response.json()).error.message);
  let first = null;
  let used = null;
  for await (const part of events(response)) {
    if (part.error) throw new Error(part.error.message);
    if (part.usage) used = part.usage;
    const words = part.choices.length ? part.choices[0].delta.content : null;
    if (words) {
      first ??= performance.now() - begun;
      shown.text.textContent += words;
    }
  }
  const whole = performance.now() - begun;
  if (!shown.text.textContent) {
    shown.text.textContent = "(empty)";
    shown.text.classList.add("none");
  }
  const tokens = used ? `${used.completion_tokens} tokens, ` : "";
  shown.meta.textContent = `${first === null ? "" : `first words after ${Math.round(first)} ms, `}${tokens}${Math.round(whole)} ms in all`;
}

async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const data = part.replace(/^data: /, "");
      if (data !== "[DONE]") yield JSON.parse(data);
    }
  }
}

$("ask").addEventListener("submit", async (submitted) => {
  submitted.preventDefault();
  if (!chosen()) return load();
  running = new AbortController();
  $("send").disabled = true;
  $("stop").disabled = false;
  $("problem").textContent = "";
  const cards = SYSTEMS.map(([, title]) => card(title, title === "Cache-to-Cache"));
  $("answers").replaceChildren(...cards.map((each) => each.made));
  await Promise.all(SYSTEMS.map(([system], number) =>
    ask(system, cards[number], running.signal).catch((error) => {
      cards[number].meta.textContent = error.name === "AbortError" ? "stopped" : error.message;
    })));
  $("send").disabled = false;
  $("stop").disabled = true;
});
$("stop").addEventListener("click", () => running && running.abort());
$("champion").addEventListener("change", show);
$("key").addEventListener("change", load);
load().catch((error) => { $("problem").textContent = error.message; });
