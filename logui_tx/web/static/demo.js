// The demo page: logs this page's clicks and moves by LogUI 0.4 and shows what becomes of them.
//
// Events gather in `buffer`, leave it as requests in `queue`, and stay in the queue until the server has
// answered them. It answers in the order of the requests, so an answer is to the first one in flight.

const ENDPOINT = "/logui/endpoint/0.4.0/";
const FLUSH_EVERY = 500; // ms
const FLUSH_AT = 20; // events
const RETRY_AFTER = 1000; // ms, when the server could not store
const BACK_OFF = { first: 500, longest: 15_000 }; // ms
const MOST_WAITING = 20_000; // events; past it nothing is captured, so that memory stays bounded
const MOST_SHOWN = 20; // payloads
const DEMO_HOSTS = ["localhost", "127.0.0.1"]; // the domains of the flight Demo
const STATES = {
  connecting: "Connecting", listening: "Listening", shutdown: "Server shutting down",
  closed: "Closed", refused: "Refused", left: "Left",
};

const $ = (id) => document.getElementById(id);
const instance = randomText(); // tells this page load from others: payload ids begin at 1 in each
const counts = { captured: 0, sent: 0, acknowledged: 0 };
let socket = null; // the current one; what older ones say is ignored
let listening = false; // the handshake was accepted
let ending = null; // "leaving" or "refused": nothing is captured and, once closed, nothing is tried again
let holding = false; // the server could not store: wait before sending again
let moving = false; // the server shuts down: on to the next
let session; // as all that is undefined, it is left out of JSON
let appData = { condition: $("condition").value }; // as far as the server has acknowledged it
let lastID = 0;
const buffer = [];
let queue = [];
let failures = 0; // attempts to connect since the last success
let timer = 0; // the next attempt to connect, or to send again

// --- connection
function connect() {
  clearTimeout(timer);
  socket?.close(1000);
  forgetFlight();
  show("connecting");
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  const opened = new WebSocket(`${scheme}//${location.host}${ENDPOINT}`);
  opened.onopen = () => opened.send(JSON.stringify(handshake()));
  opened.onmessage = ({ data }) => opened === socket && hear(JSON.parse(data));
  opened.onclose = (event) => opened === socket && closed(event);
  socket = opened;
}

function reconnect() {
  ending = null;
  failures = 0;
  connect();
}

function handshake() {
  return {
    payloadType: "LogUIHandshake",
    clientDateTime: Date.now(),
    appIdentifier: document.body.dataset.token,
    appSpecificLogData: appData,
    domain: location.host,
    clientInstance: instance,
    referrer: document.referrer,
    sessionIdentifier: session,
  };
}

// What was in flight on a lost connection may or may not be stored: the next handshake tells.
function forgetFlight() {
  listening = false;
  holding = moving = false;
  for (const request of queue) request.inFlight = false;
}

function closed({ code, reason }) {
  forgetFlight();
  if (ending === "refused") return;
  if (ending === "leaving" && code === 1000) {
    // The server says goodbye when the last payload is stored.
    for (const request of queue.splice(0)) acknowledge(request, "stored");
    show("left", "The session has ended. Reconnect goes on with it.");
    return;
  }
  // Doubling and jitter: many pages that lost the same server must not come back at once.
  const pause = Math.min(BACK_OFF.longest, BACK_OFF.first * 2 ** failures++) * (0.5 + Math.random() / 2);
  const why = code === 1006 ? "1006, no connection" : `${code}${reason && ", "}${reason}`;
  show(code < 1002 ? "shutdown" : "closed", `${why}. Trying again in ${(pause / 1000).toFixed(1)} s.`);
  timer = setTimeout(connect, pause);
}

// --- what the server says
function hear(message) {
  const bad = { 400: refused, 401: wrong, 402: refused, 403: wrong, 500: unstored };
  ({ 200: welcomed, 201: stored, ...bad, 501: shuttingDown })[message.statusCode]?.(message);
}

function welcomed({ sessionIdentifier, lastPayloadID }) {
  listening = true;
  failures = 0;
  session = sessionIdentifier;
  $("session").textContent = session;
  show("listening");
  // Of these only the acknowledgement was lost.
  const known = queue.filter(({ message }) => message.payloadID <= lastPayloadID);
  queue = queue.filter((request) => !known.includes(request));
  for (const request of known) acknowledge(request, "stored");
  if (ending === "leaving" && !queue.length) enqueue(payload("leavingPage"));
  transmit();
}

function stored() {
  const request = takeAnswered();
  acknowledge(request, `${(performance.now() - request.sentAt).toFixed(1)} ms`);
}

// The request itself was bad: sending it again would not help.
function wrong({ errorDetails }) {
  answered(takeAnswered(), errorDetails.errorString);
}

function refused({ errorDetails }) {
  ending = "refused";
  show("refused", errorDetails.errorString);
  if (DEMO_HOSTS.includes(location.hostname)) return;
  const here = `${location.protocol}//localhost${location.port && ":"}${location.port}/demo/`;
  $("advice").textContent =
    `You opened this page as “${location.hostname}”, but the demo accepts only pages opened as localhost or ` +
    `127.0.0.1. On the computer that runs the server, open ${here} instead. To log pages of ` +
    `“${location.hostname}”, create a flight with that domain.`;
  $("advice").hidden = false;
}

function unstored({ errorDetails }) {
  if (errorDetails.terminate) return; // it closes the connection, and a new one is tried
  const request = queue.find(({ inFlight }) => inFlight);
  if (request) request.inFlight = false;
  holding = true;
  show("listening", "The server cannot store at the moment. Nothing is lost: it is sent again.");
  allAnswered();
}

function shuttingDown() {
  moving = true;
  show("shutdown", "What was captured is still stored.");
  flush();
  allAnswered();
}

// Payloads after one that could not be stored are answered with 500 too. All of them go again, in order, when
// the last answer is there: sooner, a later one could be stored first, and the earlier one look like a repeat.
// A server that shuts down is left when nothing is owed, for it may wait for us, and another may take over.
function allAnswered() {
  if (queue.some(({ inFlight }) => inFlight)) return;
  if (moving && !queue.length) socket.close(1000);
  if (!holding) return;
  clearTimeout(timer);
  timer = setTimeout(() => {
    holding = false;
    show("listening");
    transmit();
  }, RETRY_AFTER);
}

function takeAnswered() {
  const request = queue.find(({ inFlight }) => inFlight);
  queue = queue.filter((other) => other !== request);
  return request;
}

function acknowledge(request, how) {
  counts.acknowledged += request.events;
  appData = { ...appData, ...request.change };
  answered(request, how);
}

function answered({ row }, how) {
  row.lastChild.textContent = how;
  row.classList.add("answered");
  transmit();
  allAnswered();
  render();
}

// --- events
function capture(eventType, eventDetails) {
  if (ending || waiting() >= MOST_WAITING) return;
  buffer.push({ clientDateTime: Date.now(), eventType, eventDetails });
  counts.captured++;
  if (buffer.length >= FLUSH_AT) flush();
  render();
}

function captureMove({ clientX, clientY }) {
  capture("interactionEvent", { type: "mousemove", x: Math.round(clientX), y: Math.round(clientY) });
}

function captureClick({ clientX, clientY, target: { id, tagName } }) {
  const [x, y, tag] = [Math.round(clientX), Math.round(clientY), tagName.toLowerCase()];
  // Of the target only what the page's author wrote: a text or a value may be the visitor's.
  capture("interactionEvent", { type: "click", x, y, target: { id, tag } });
  if (!ending) $("last").textContent = `Last click: ${x}, ${y} on ${tag}${id && "#"}${id}`;
}

function payload(word) {
  const events = buffer.splice(0);
  return { payloadType: "LogUIEventPayload", payloadID: ++lastID, eventsToBeLogged: events, session: word };
}

function flush() {
  if (buffer.length) enqueue(payload());
}

function changeCondition(condition) {
  flush(); // what was captured before keeps the old condition
  enqueue({ payloadType: "LogUIAppSpecificLogDataChange", appSpecificLogData: { condition } });
}

function leave() {
  if (ending) return;
  ending = "leaving";
  enqueue(payload("leavingPage"));
}

function enqueue(message) {
  const { eventsToBeLogged: { length: events } = [], appSpecificLogData: change } = message;
  queue.push({ message, events, change, row: addRow(message), inFlight: false, sentAt: null });
  transmit();
  render();
}

// Sends what is not in flight, in order. A change waits for everything before it, and everything after it for
// the change: else a retry could give events the wrong data. `now` is for a page that goes away.
function transmit(now = false) {
  if (now ? socket.readyState !== WebSocket.OPEN : !listening || holding) return;
  for (const request of queue) {
    if (request.change && request !== queue[0] && !now) return;
    if (!request.inFlight) send(request);
    if (request.change && !now) return;
  }
}

function send(request) {
  if (request.sentAt === null) counts.sent += request.events;
  request.sentAt = performance.now();
  request.inFlight = true;
  socket.send(JSON.stringify(request.message));
}

// --- what is shown: texts only, never markup
function show(state, detail = "") {
  $("state").textContent = STATES[state];
  $("state").dataset.state = state;
  $("detail").textContent = detail;
  $("advice").hidden = true;
  render();
}

function waiting() {
  return queue.reduce((sum, { events }) => sum + events, buffer.length);
}

function render() {
  for (const [name, value] of Object.entries({ ...counts, waiting: waiting() })) $(name).textContent = value;
  $("in-force").textContent = appData.condition;
}

function addRow({ payloadID = "–", eventsToBeLogged: events, appSpecificLogData: change, session: word = "" }) {
  const kinds = {};
  for (const { eventDetails } of events ?? []) kinds[eventDetails.type] = (kinds[eventDetails.type] ?? 0) + 1;
  const content = Object.entries(kinds).map(([kind, count]) => `${count} ${kind}`);
  const texts = change ? [`condition: ${change.condition}`] : [...content, word].filter(Boolean);
  const row = $("payloads").insertRow(0);
  for (const text of [payloadID, events?.length ?? "–", texts.join(", "), "waiting"]) {
    row.insertCell().textContent = text;
  }
  while ($("payloads").rows.length > MOST_SHOWN) $("payloads").deleteRow(-1);
  return row;
}

function randomText() {
  // crypto.randomUUID is missing where the page came by plain HTTP.
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (number) => number.toString(36)).join("");
}

// --- what happens on the page
document.addEventListener("pointermove", captureMove); // a finger makes no mouse moves
document.addEventListener("click", captureClick, true); // before a button does what it is for
$("custom").addEventListener("click", () => capture("customEvent", { type: "custom", from: "the demo page" }));
$("leave").addEventListener("click", leave);
$("reconnect").addEventListener("click", reconnect);
$("change").addEventListener("submit", (event) => {
  event.preventDefault();
  changeCondition($("condition").value);
});
addEventListener("visibilitychange", () => document.hidden && flush()); // a phone may end a hidden page silently
addEventListener("pagehide", () => (leave(), transmit(true)));
addEventListener("pageshow", ({ persisted }) => persisted && reconnect()); // back from the browser's cache
setInterval(flush, FLUSH_EVERY);
connect();
