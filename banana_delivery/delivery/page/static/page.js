// What is shown comes from strangers as well: everything is set as text, and nothing as markup.
const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const NAMES = {
  failures: "failures", slow: "slow answers", overload: "turned away", worse_than_active: "worse than what serves",
  healthy: "healthy (for it)",
};

function made(tag, text = "", cls = "") {
  const one = document.createElement(tag);
  if (text !== "") one.textContent = text;
  if (cls) one.className = cls;
  return one;
}

function say(id, text) {
  if ($(id).textContent !== text) $(id).textContent = text;
}

function clock(seconds) {
  const whole = Math.max(Math.round(seconds), 0);
  return whole < 120 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

function seen(one) {
  const p95 = one.p95_seconds === null ? "no p95 yet" : `p95 ${Math.round(one.p95_seconds * 1000)} ms`;
  return `${one.requests} requests, ${one.failed} failed, ${p95}`;
}

function fact(list, name, text) {
  const box = made("div");
  box.append(made("dt", name), made("dd", text));
  list.append(box);
}

function curve(points, from, until, key) {
  const x = (at) => ((at - from) / Math.max(until - from, 1)) * 600;
  const y = (share) => 170 - Math.min(Math.max(share, 0), 1.15) * 140;
  const line = document.createElementNS(SVG, "polyline");
  line.setAttribute("class", `c-${key}`);
  line.setAttribute("points", points.map((one) => `${x(one.at).toFixed(1)},${y(one[key] ?? 0).toFixed(1)}`).join(" "));
  return line;
}

function draw(points) {
  const svg = $("curves");
  svg.replaceChildren();
  const limit = document.createElementNS(SVG, "line");
  for (const [name, value] of Object.entries({ x1: 0, x2: 600, y1: 30, y2: 30 })) limit.setAttribute(name, value);
  svg.append(limit);
  if (!points.length) return;
  const [from, until] = [points[0].at, points[points.length - 1].at];
  for (const key of Object.keys(NAMES)) svg.append(curve(points, from, until, key));
  const last = points[points.length - 1];
  const legend = $("legend");
  legend.replaceChildren();
  for (const [key, name] of Object.entries(NAMES)) {
    const item = made("li");
    const mark = document.createElementNS(SVG, "svg");
    mark.setAttribute("viewBox", "0 0 32 12");
    mark.setAttribute("aria-hidden", "true");
    const stroke = document.createElementNS(SVG, "line");
    for (const [n, v] of Object.entries({ x1: 0, x2: 32, y1: 6, y2: 6, class: `c-${key}` })) stroke.setAttribute(n, v);
    mark.append(stroke);
    item.append(mark, ` ${name} ${Math.round((last[key] ?? 0) * 100)} %`);
    legend.append(item);
  }
}

function showStep(step, points) {
  $("step").hidden = !step;
  if (!step) return;
  say("step-title", `Step ${step.number} of ${step.steps}: ${step.kind} at ${step.weight} %`);
  $("paused").hidden = !step.paused;
  say("paused", step.paused ? `Paused: ${step.paused}` : "");
  const facts = $("step-facts");
  facts.replaceChildren();
  fact(facts, "Candidate", seen(step.candidate));
  fact(facts, "What serves", seen(step.active));
  fact(facts, "Since", clock(step.seconds));
  fact(facts, "Ends within", `${clock(step.left)}, at most ${clock(step.left_at_most)}`);
  fact(facts, "Then, by ceilings", clock(step.left_after));
  const strongest = step.against[0];
  fact(facts, "Most against it", strongest
    ? `${NAMES[strongest.limit]}: ${strongest.bad} of ${strongest.judged}, ${strongest.log_e} of ${strongest.needed}`
    : "nothing");
  say("reason", step.reason);
  draw(points);
}

function showColour(name, one) {
  const card = made("div", "", `colour ${name}`);
  card.append(made("h4", `${name}: ${one.role}`));
  if (!one.image) {
    card.append(made("p", "Nothing was ever deployed here."));
    return card;
  }
  card.append(made("p", `Version ${one.image.version}, ${one.image.digest.slice(0, 19)}`));
  card.append(made("p", `${one.ready === null ? "?" : one.ready} of ${one.replicas} replicas ready`));
  card.append(made("p", `${one.weight} % of users`));
  const meter = made("meter");
  meter.max = 100;
  meter.value = one.weight;
  meter.setAttribute("aria-label", `Share of users of ${name}`);
  card.append(meter);
  return card;
}

function showEnvironment(name, one) {
  const part = made("div");
  part.append(made("h3", name));
  if (one.unseen) {
    part.append(made("p", `Cannot be seen: ${one.unseen}`, "bad"));
    return part;
  }
  const busy = one.owner ? `, by ${one.owner}` : "";
  part.append(made("p", `${one.phase}${busy}${one.note ? `: ${one.note}` : ""}`));
  const colours = made("div", "", "colours");
  for (const [colour, what] of Object.entries(one.colours)) colours.append(showColour(colour, what));
  part.append(colours);
  for (const differs of one.differences) part.append(made("p", differs.sentence, "bad"));
  return part;
}

// What people said that counts still, the latest first.
function standing(now) {
  return now.decisions.filter((one) => one.seconds_left > 0 && !one.spent);
}

let shown = "";
function show(now) {
  const production = now.environments.production;
  const all = production.candidate ? "serves" : "serves all users";
  const serving = production.serving ? `Version ${production.serving.version} ${all}.` : "Nothing is released yet.";
  const candidate = production.candidate ? ` Version ${production.candidate.version} is the candidate (${production.phase}).` : "";
  say("summary", production.unseen ? "" : serving + candidate);
  showStep(production.step ?? null, now.curves);
  const still = JSON.stringify([now.environments, now.waiting, now.freeze, standing(now)], (key, value) =>
    key === "step" || key === "at" || key === "seconds_left" ? undefined : value);
  if (still !== shown) {
    $("environments").replaceChildren(
      showEnvironment("Production", production), showEnvironment("Staging", now.environments.staging));
    say("waiting", now.waiting.length ? `Waiting: ${now.waiting.join(", ")}` : "No delivery waits.");
    const end = now.frozen && now.frozen.until;
    say("freeze", end ? `${now.freeze} By your clock until ${new Date(end * 1000).toLocaleString([], { timeZoneName: "short" })}.` : now.freeze);
    $("decisions").replaceChildren(...standing(now).map((one) =>
      made("li", `${one.kind} of version ${one.version}, ${one.by}: ${one.reason}`)));
    shown = still;  // Not before: what could not be shown is not shown when it is told again.
  }
  showActs(now);
  answerInvitation();
  say("model", now.model);
  say("may", now.may);
  $("scores").hidden = !now.scorecard;
  if (now.latest !== latest) {
    latest = now.latest;
    history();
    scorecard();
  }
}

const STANDINGS = { kept: "good", broken: "bad", unsure: "warn", unknown: "warn" };
const COLUMNS = ["", "", "95 % sure", "Promised", "", "Of", ""];
async function scorecard() {
  const answer = await fetch("/delivery/scores").catch(() => null);
  if (!answer || !answer.ok) {
    say("scored", "It cannot be counted now; type: banana-delivery scorecard");
    return;
  }
  const told = await answer.json();
  say("scored", told.said);
  $("figures").replaceChildren(...told.rows.map((one) => {
    const row = made("tr");
    one.cells.forEach((text, number) => {
      const cell = made(number ? "td" : "th", text, number === 4 ? STANDINGS[one.standing] ?? "" : "");
      if (!number) cell.scope = "row";
      if (COLUMNS[number] && text !== "") cell.dataset.label = COLUMNS[number];
      row.append(cell);
    });
    return row;
  }));
  $("notes").replaceChildren(...(told.notes ?? []).map((one) => made("li", one)));
}

let latest = null;
let offset = 0;
async function history(older = false) {
  offset = older ? offset : 0;
  const answer = await fetch(`/delivery/history?offset=${offset}`).catch(() => null);
  if (!answer || !answer.ok) {
    if (!older) latest = null;  // It is asked for again with what is told next.
    return;
  }
  const page = await answer.json();
  const rows = page.attempts.map((one) => {
    const row = made("tr");
    const more = made("td");
    if (one.run_id) {
      const run = made("a", "run");
      run.href = `/runs/${encodeURIComponent(one.run_id)}`;
      run.setAttribute("aria-label", `Run of version ${one.version}, ${one.outcome}`);
      more.append(run, " ");
    }
    if (one.report) {
      const report = made("a", "report");
      report.href = one.report;
      report.setAttribute("aria-label", `Report of version ${one.version}, ${one.outcome}`);
      more.append(report);
    }
    row.append(
      made("td", new Date(one.at * 1000).toLocaleString()), made("td", one.version),
      made("td", one.outcome.replaceAll("_", " ")), made("td", one.reason), made("td", clock(one.seconds)), more);
    return row;
  });
  if (older) $("attempts").append(...rows);
  else $("attempts").replaceChildren(...rows);
  offset += page.attempts.length;
  $("older").hidden = !page.more;
}
$("older").addEventListener("click", () => history(true));

// What may be decided, each with what it is about: a request names what was shown, and is refused if that is so no more.
function named(image) {
  return `version ${image.version} (${image.digest.slice(0, 19)})`;
}

function withdrawals(now) {
  const said = standing(now);
  return [...new Set(said.map((one) => one.version))].map((version) => {
    const its = said.filter((one) => one.version === version);
    const kinds = [...new Set(its.map((one) => one.kind))].sort().join(" and ");
    const each = its.map((one) => `the ${one.kind} of ${one.by} (${one.reason})`).join("; ");
    return {
      act: "withdraw", label: `Withdraw ${kinds} of version ${version}`, version, seen: its[0].at,
      what: `Take back of version ${version}: ${each}. Nothing begins by that any more; who wants the version says so again.`,
    };
  });
}

function actsOf(now) {
  const production = now.environments.production;
  const acts = now.asks.map((one) => ({
    act: "approve", label: `Approve version ${one.version}`, version: one.version, digest: one.digest,
    what: `Let ${named(one)} into production, although: ${one.reason}`,
  }));
  acts.push(...withdrawals(now));
  if (!production.unseen && production.owner && production.candidate) {
    const about = { run_id: production.owner, version: production.candidate.version };
    const which = named(production.candidate);
    const pause = now.pause && now.pause.run_id === production.owner ? now.pause : null;
    acts.push(pause
      ? { ...about, act: "resume", label: "Go on", seen: pause.at, what: `Let ${which} go on from its weight. Paused by ${pause.by}: ${pause.reason}` }
      : { ...about, act: "pause", label: "Pause", what: `Keep ${which} at its weight: a fault still turns it back, and nothing moves it forward.` });
    acts.push({ ...about, act: "abort", label: "Abort", what: `End the delivery of ${which}: its users go back to what serves. It stays staged.` });
  }
  const bad = production.unseen ? null : production.candidate ?? production.serving;
  if (bad) {
    acts.push({
      act: "rollback", label: `Roll back version ${bad.version}`, version: bad.version, digest: bad.digest,
      what: `Take ${named(bad)} away from all users now, and keep it out until somebody overrides that.`,
    });
  }
  acts.push(now.frozen
    ? { act: "unfreeze", label: "Unfreeze", seen: now.frozen.at, what: `Let deliveries into production again. Frozen by ${now.frozen.by}: ${now.frozen.reason}` }
    : { act: "freeze", label: "Freeze", what: "Let nothing into production; what is under way there goes on, and everybody can still be brought back." });
  return acts;
}

// A link from a message leads to what waits; it opens the question, and nothing more.
const invitation = new URLSearchParams(location.search).get("asks");
let invited = null;
async function invite() {
  if (invitation === null) return;
  window.history.replaceState(null, "", location.pathname + location.hash);
  const answer = await fetch(`/delivery/invited?asks=${encodeURIComponent(invitation)}`).catch(() => null);
  invited = answer && answer.ok ? await answer.json() : { said: "What this link asks cannot be looked up now; look what waits here." };
}

function answerInvitation() {
  if (invited === null || !introduced || $("asking").open) return;
  const about = invited;
  invited = null;
  const one = acts.find((act) => act.act === "approve" && act.version === about.version && act.digest === about.digest);
  if (about.said) say("invited", about.said);
  else if (!me.may) say("invited", `Version ${about.version} waits for somebody who may decide. You may not here; who may, types: ${about.type}`);
  else if (one) ask(one);
  else say("invited", `Version ${about.version} waits, and is not among the latest attempts; type: ${about.type}`);
}

let introduced = false;
let me = { may: false };
let acts = [];
let chosen = null;
let live = false;
let beat = "";
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "";
say("zone", zone || "the pipeline's machine");
const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

function showActs(now) {
  beat = now.beat;
  if (!me.may) return;
  const fresh = actsOf(now);
  if (!same(fresh, acts)) {
    acts = fresh;
    const focused = document.activeElement && document.activeElement.dataset ? document.activeElement.dataset.act : null;
    $("acts").replaceChildren(...acts.map((one) => {
      const button = made("button", one.label);
      button.type = "button";
      button.dataset.act = `${one.act} ${one.version ?? ""}`;
      button.addEventListener("click", () => ask(one));
      return button;
    }));
    const again = focused && [...$("acts").children].find((one) => one.dataset.act === focused);
    if (again) again.focus();
  }
  const still = chosen === null || acts.some((one) => same(one, chosen));
  say("asking-changed", still ? "" : "What this is about has changed since; close this and look what is now.");
  hold(!still);
}

// Nobody decides about what may be old: what stands here is what was, until the next event.
function hold(changed) {
  for (const button of $("acts").children) button.disabled = !live;
  $("confirm").disabled = changed || !live;
}

function ask(one) {
  chosen = one;
  say("asking-title", one.label);
  say("asking-what", one.what);
  say("asking-changed", "");
  say("confirm", one.label);
  hold(false);
  $("why").value = "";
  $("until").value = "";
  $("until-part").hidden = one.act !== "freeze";
  $("asking").showModal();
  $("why").focus();
}

async function send(one, reason, until) {
  const { what, label, ...about } = one;
  try {
    const now = await (await fetch("/delivery/who")).json();
    if (now.who !== me.who) {
      return { done: false, said: `You are ${now.who || "nobody known"} now, by another login; load this page again.` };
    }
    me = now;
    const answer = await fetch("/delivery/decide", {
      method: "POST", headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ ...about, reason, until, zone, beat, token: me.token }),
    });
    const told = await answer.json();
    return told.errors ? { done: false, said: told.errors[0].message } : told;
  } catch {
    return { done: false, said: "The page's server did not answer; look what is now before you ask again, or type the command." };
  }
}

$("asking-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const [one, reason, until] = [chosen, $("why").value.trim(), $("until").value.trim()];
  if (one === null || $("confirm").disabled) return;
  if (!reason) {
    $("why").value = "";
    $("why").reportValidity();
    return;
  }
  $("confirm").disabled = true;
  $("asking").close();
  $("decided").className = "";
  say("decided", `${one.label}: asked …`);
  const told = await send(one, reason, until);
  $("decided").className = told.done ? "" : "bad";
  say("decided", `${one.label}: ${told.said}`);
});
$("asking").addEventListener("close", () => { chosen = null; });
$("cancel").addEventListener("click", () => $("asking").close());

async function introduce() {
  const answer = await fetch("/delivery/who").catch(() => null);
  if (!answer || !answer.ok) return;  // It is asked again with what is told next.
  me = await answer.json();
  $("decide").hidden = !me.may && !me.said;
  say("who", me.may ? `You are ${me.who}; what you decide is on record under this name.` : me.said || "");
  introduced = true;
}
introduce();
invite();

// A connection may die unheard, as in a laptop that slept, and a browser gives up after an answer that is none.
const SILENT = 20000;  // Milliseconds; something is told every five seconds.
const AGAIN = 5000;
let events = null;
let heard = 0;
let tried = 0;

function lost() {
  live = false;
  hold(false);
  if (chosen) say("asking-changed", "Not connected; what is shown may be old. Wait, or type the command.");
  $("link").className = "lost";
  say("link", "Not connected; what is shown may be old. Trying again …");
}

function listen() {
  if (events) events.close();
  heard = tried = performance.now();
  events = new EventSource("/delivery/events");
  events.addEventListener("message", (event) => {
    heard = performance.now();
    live = true;
    try {
      const now = JSON.parse(event.data);
      show(now);
      $("link").className = now.trouble ? "lost" : "";
      say("link", now.trouble || "Live.");
    } catch (error) {  // As where this page is of before an upgrade: what stands here is not what was told.
      lost();
      say("link", "What is told cannot be shown here, and what is shown may be old. Load this page again.");
      throw error;
    }
    if (!introduced) introduce();
  });
  events.addEventListener("error", lost);
}
listen();

setInterval(() => {
  const now = performance.now();
  const silent = now - heard > SILENT;
  if (silent && live) lost();
  if ((silent || events.readyState === EventSource.CLOSED) && now - tried > AGAIN) listen();
}, 1000);
