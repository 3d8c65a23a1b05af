// The demo page: logs what happens on it by the two shipped clients, and shows what becomes of it.

import { DataKraken } from "/client/kraken.js";
import { LogUI } from "/client/logui.js";
import { cutAll, install, isCut, mend } from "/static/network.js";

const MOST_SHOWN = 20; // payloads
const MOST_EVENTS = 8; // of each client
const DEMO_HOSTS = ["localhost", "127.0.0.1"]; // the domains of the flight Demo
const STATES = {
  off: "Off", waiting: "Waiting", connecting: "Connecting", listening: "Listening",
  shutdown: "Server shutting down", closed: "Closed", refused: "Refused", stopped: "Left",
};
const KRAKEN_STATES = { INIT: "Ticket asked for", LISTEN: "Connecting", READY: "Listening", CLOSING: "Closed" };
const KRAKEN_TYPES = ["click", "mousemove", "scroll", "key", "focus", "resize", "navigation", "submit"];

const $ = (id) => document.getElementById(id);
const { token } = document.body.dataset;

install();
const logui = new LogUI({
  token,
  appData: { condition: $("condition").value },
  listeners: ["mouseclick", "mousemove"],
  sampling: 0,
  bufferCount: 20,
  flushInterval: 500,
});
const kraken = new DataKraken({ token });

// --- LogUI: texts only, never markup
const rows = new Map(); // the row of a payload that is not answered
let kinds = {}; // what was captured for the next payload

logui.addEventListener("state", ({ detail: { state, detail, retryIn } }) => {
  $("state").textContent = STATES[state];
  $("state").dataset.state = state === "stopped" ? "left" : state;
  $("detail").textContent = explain(state, detail, retryIn);
  $("session").textContent = logui.session ?? "none yet";
  $("advice").hidden = state !== "refused" || DEMO_HOSTS.includes(location.hostname);
  render();
});

function explain(state, detail, retryIn) {
  if (retryIn) {
    const why = detail === "1006" ? "1006, no connection" : detail;
    return `${why}. Trying again in ${(retryIn / 1000).toFixed(1)} s.`;
  }
  if (state === "stopped") return "The session has ended. Reconnect goes on with it.";
  if (state === "shutdown") return "What was captured is still stored.";
  if (state !== "listening" || !detail) return detail;
  return "The server cannot store at the moment. Nothing is lost: it is sent again.";
}

logui.addEventListener("captured", ({ detail: { eventDetails } }) => {
  const { type, x, y, target } = eventDetails;
  kinds[type] = (kinds[type] ?? 0) + 1;
  const where = target ? ` on ${target.tag}${target.id && "#"}${target.id}` : "";
  if (type === "click") $("last").textContent = `Last click: ${x}, ${y}${where}`;
  showEvent("events", x === undefined ? type : `${type} ${x}, ${y}${where}`);
  render();
});

logui.addEventListener("queued", ({ detail: item }) => {
  const content = Object.entries(kinds).map(([kind, count]) => `${count} ${kind}`).join(", ");
  kinds = {};
  rows.set(name(item), addRow(item, content || "leaving"));
});

logui.addEventListener("acknowledged", ({ detail: item }) => {
  answered(item, item.sentAt ? `${(performance.now() - item.sentAt).toFixed(1)} ms` : "by another page");
  if (item.changes) $("in-force").textContent = item.changes.condition;
});

logui.addEventListener("error", ({ detail }) => (detail.events ? answered(detail, detail.message) : undefined));

function name({ instance, id }) {
  return `${instance} ${id}`;
}

function answered(item, how) {
  const other = item.changes ? `condition: ${item.changes.condition}` : "from an earlier page";
  const row = rows.get(name(item)) ?? addRow(item, other);
  rows.delete(name(item));
  row.lastChild.textContent = how;
  row.classList.add("answered");
  render();
}

function addRow({ id = "–", events, changes }, content) {
  const row = $("payloads").insertRow(0);
  for (const text of [id, changes ? "–" : events, content, "waiting"]) row.insertCell().textContent = text;
  while ($("payloads").rows.length > MOST_SHOWN) $("payloads").deleteRow(-1);
  return row;
}

function render() {
  const { captured, recovered, sent, acknowledged } = logui.counts;
  const numbers = { captured: captured + recovered, sent, acknowledged, waiting: logui.waiting };
  for (const [id, value] of Object.entries(numbers)) $(id).textContent = value;
  const { stored } = kraken.counts;
  const theirs = { captured: kraken.counts.captured, sent: kraken.counts.sent, acknowledged: stored };
  for (const [id, value] of Object.entries(theirs)) $(`kraken-${id}`).textContent = value;
  $("kraken-waiting").textContent = kraken.waiting;
}

// --- DataKraken
kraken.addEventListener("state", ({ detail: { state, code, reason } }) => {
  $("kraken-state").textContent = KRAKEN_STATES[state];
  $("kraken-state").dataset.state = { READY: "listening", CLOSING: "closed" }[state] ?? "connecting";
  $("kraken-detail").textContent = code && code !== 1000 ? `${code}${reason && ", "}${reason}` : "";
  render();
});

kraken.addEventListener("captured", ({ detail: { type, event } }) => {
  const { X, Y, ellapsed, target, name: word } = event;
  const place = X === undefined ? "" : ` ${X}, ${Y}`;
  const more = [target && ` on ${target}`, ellapsed && ` after ${ellapsed} ms`];
  showEvent("kraken-events", (KRAKEN_TYPES[type] ?? word) + place + more.filter(Boolean).join(""));
  render();
});

kraken.addEventListener("acknowledged", render);
kraken.addEventListener("error", ({ detail: { message } }) => {
  $("kraken-detail").textContent = message;
});

function showEvent(list, text) {
  const line = document.createElement("li");
  line.textContent = text;
  $(list).prepend(line);
  while ($(list).children.length > MOST_EVENTS) $(list).lastChild.remove();
}

// --- buttons
function restart() {
  if (isCut()) toggleCut();
  else if (!["stopped", "refused", "off"].includes(logui.state)) {
    cutAll();
    mend();
  }
  logui.start();
  kraken.Listen();
}

function toggleCut() {
  if (isCut()) mend();
  else cutAll();
  $("cut").setAttribute("aria-pressed", isCut());
  if (!isCut()) kraken.Listen();
}

$("custom").addEventListener("click", () => {
  logui.log("custom", { from: "the demo page" });
  kraken.Log("custom", { from: "the demo page" });
});
$("leave").addEventListener("click", () => {
  logui.stop({ resumable: true });
  kraken.Close();
});
$("cut").addEventListener("click", toggleCut);
$("reconnect").addEventListener("click", restart);
$("change").addEventListener("submit", (event) => {
  event.preventDefault();
  logui.setData({ condition: $("condition").value });
});

const here = `${location.protocol}//localhost${location.port && ":"}${location.port}/demo/`;
$("advice").textContent =
  `You opened this page as “${location.hostname}”, but the demo accepts only pages opened as localhost or ` +
  `127.0.0.1. On the computer that runs the server, open ${here} instead. To log pages of ` +
  `“${location.hostname}”, create a flight with that domain.`;
logui.start();
kraken.Listen();
