// The page at /: asks all systems of a champion and shows their answers as they come.
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
  const examples = one.examples ?? [];
  $("example-label").hidden = !examples.length;
  $("example").replaceChildren(new Option("", ""), ...examples.map((each, number) => new Option(each.question, number)));
  $("heard").hidden = true;
  const heard = new Map(one.layers.map((each) => [each.layer, each]));
  const columns = [];
  for (let layer = 0; layer < one.receiver_layers; layer++) columns.push(column(layer, heard.get(layer)));
  $("gates").replaceChildren(...columns);
  $("gates").setAttribute("aria-label", one.layers.map((each) => `layer ${each.layer}: keys ${percent(each.keys)}, values ${percent(each.values)}, from sharer layer ${each.sources.join(", ")}`).join("; "));
  const gated = one.layers.some((each) => each.keys < 1 || each.values < 1);
  const bars = gated ? "Striped: how far the gates let keys through; solid: values." : "Nothing is held back: there are no gates, or all are open.";
  $("legend").textContent = `${one.layers.length} of the receiver's ${one.receiver_layers} layers hear the sharer. ${bars}`;
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
    bar.className = heard ? kind : "";
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
  const said = document.createElement("div");
  const meta = document.createElement("p");
  meta.className = "meta";
  meta.textContent = "waiting";
  made.append(head, text, said, meta);
  return { made, text, said, meta };
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
      heard: true,
      ...(context && system !== "/receiver" ? { sharer_context: context } : {}),
    }),
  });
  if (!response.ok) throw new Error((await response.json()).error.message);
  let first = null;
  let last = null;
  let used = null;
  for await (const part of events(response)) {
    if (part.error) throw new Error(part.error.message);
    if (part.usage) used = part.usage;
    const [choice] = part.choices;
    if (choice?.finish_reason) tell(system, shown, choice);
    const words = choice?.delta.content;
    if (words) {
      last = performance.now() - begun;
      first ??= last;
      shown.text.textContent += words;
    }
  }
  last ??= performance.now() - begun;
  if (!shown.text.textContent) {
    shown.text.textContent = "(empty)";
    shown.text.classList.add("none");
  }
  if (system === "" && one.contexts_only && !context) say(shown, "No document", "so the sharer said nothing: the receiver answered alone.");
  const count = used?.completion_tokens;
  const tokens = count ? `${count} token${count === 1 ? "" : "s"}, ` : "";
  shown.meta.textContent = `${first === null ? "" : `first words after ${Math.round(first)} ms, `}${tokens}${Math.round(last)} ms in all`;
}

function tell(system, shown, choice) {
  if (choice.listened === false) say(shown, "The receiver was sure enough by itself", "the sharer was not asked.");
  if (!choice.heard) return;
  const title = system === "/text-relay" ? "What the sharer told it" : "The sharer's draft, of which the message is made";
  if (choice.heard.text !== null) say(shown, title, choice.heard.text || "(empty)");
  if (choice.heard.words) say(shown, "Words of the sharer that the receiver read as text", choice.heard.words);
  if (choice.heard.effect?.logits) draw(choice.heard.effect);
}

function say(shown, title, words) {
  const head = document.createElement("b");
  head.textContent = title;
  shown.said.className = "said";
  shown.said.append(head, words);
}

const visible = (token) => token.replace(/\n/g, "\u23ce").replace(/^$/, "\u2205");
const signed = (value) => `${value < 0 ? "\u2212" : "+"}${Math.abs(value).toFixed(2)}`;
const GRID_TOKENS = 300;

function shade(made, value, most) {
  made.style.setProperty("--share", `${Math.round(85 * Math.abs(value) / most)}%`);
  if (value < 0 && Math.abs(value) > 0.02 * most) made.className = "away";
  return made;
}

// How far each token of the message moves the receiver towards its first word, layer by layer.
function draw(effect) {
  const { layers, tokens, logits } = effect;
  const sums = tokens.map((_, token) => logits.reduce((sum, row) => sum + row[token], 0));
  const whole = sums.reduce((sum, value) => sum + value, 0);
  const most = Math.max(...sums.map(Math.abs), 1e-9);
  const whose = effect.of === "sharer" ? "token that the sharer read or wrote" : "token of the question, as the sharer changed it";
  $("heard-legend").textContent = `How far each ${whose} moves the receiver's first word towards \u201c${visible(effect.first)}\u201d and away from \u201c${visible(effect.second)}\u201d (logits, to the first order; ${signed(whole)} in all). Blue: towards it; orange: away.`;
  $("strip").replaceChildren(...tokens.map((token, number) => {
    const made = document.createElement("span");
    made.textContent = visible(token);
    made.title = signed(sums[number]);
    return shade(made, sums[number], most);
  }));
  const cells = logits.flatMap((row, layer) => row.map((value, token) => ({ value, layer: layers[layer], token: tokens[token] })));
  const strongest = [...cells].sort((one, other) => Math.abs(other.value) - Math.abs(one.value)).slice(0, 6);
  $("most").replaceChildren(...strongest.map((cell) => {
    const made = document.createElement("li");
    const token = document.createElement("code");
    token.textContent = visible(cell.token);
    made.append(token, ` in layer ${cell.layer}: ${signed(cell.value)}`);
    return made;
  }));
  $("grid").hidden = tokens.length > GRID_TOKENS;
  if (!$("grid").hidden) grid(layers, tokens, cells);
  $("heard").hidden = false;
}

function grid(layers, tokens, cells) {
  const most = Math.max(...cells.map((cell) => Math.abs(cell.value)), 1e-9);
  const made = [];
  for (const [number, layer] of layers.entries()) {
    const head = document.createElement("b");
    head.textContent = `layer ${layer}`;
    made.push(head);
    for (const cell of cells.slice(number * tokens.length, (number + 1) * tokens.length)) {
      const one = document.createElement("i");
      one.title = `layer ${cell.layer}, ${visible(cell.token)}: ${signed(cell.value)}`;
      made.push(shade(one, cell.value, most));
    }
  }
  $("grid").style.gridTemplateColumns = `max-content repeat(${tokens.length}, minmax(6px, 24px))`;
  $("grid").setAttribute("aria-label", `Effect of ${tokens.length} tokens in ${layers.length} layers; the strongest are listed above.`);
  $("grid").replaceChildren(...made);
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
  $("heard").hidden = true;
  const cards = SYSTEMS.map(([, title]) => card(title, title === "Cache-to-Cache"));
  $("answers").replaceChildren(...cards.map((each) => each.made));
  const { signal } = running;
  const asked = async ([system], number) => {
    cards[number].meta.textContent = "asked";
    await ask(system, cards[number], signal).catch((error) => {
      cards[number].meta.textContent = error.name === "AbortError" ? "stopped" : error.message;
    });
  };
  if ($("in-turn").checked) {
    for (const [number, system] of SYSTEMS.entries()) await asked(system, number);
  } else {
    await Promise.all(SYSTEMS.map(asked));
  }
  $("send").disabled = false;
  $("stop").disabled = true;
});
$("stop").addEventListener("click", () => running && running.abort());
$("champion").addEventListener("change", show);
$("example").addEventListener("change", () => {
  const example = chosen().examples[$("example").value];
  if (!example) return;
  $("question").value = example.question;
  $("context").value = example.document ?? "";
});
$("key").addEventListener("change", load);
load().catch((error) => { $("problem").textContent = error.message; });
