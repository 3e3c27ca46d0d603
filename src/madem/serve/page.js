"use strict";
// Text goes in as text, so that no name of a series can be anything else.
const at = (id) => document.getElementById(id);

function table(id, rows) {
  const body = document.createElement("tbody");
  for (const row of rows) {
    const line = body.insertRow();
    for (const cell of row) line.insertCell().textContent = String(cell);
  }
  at(id).replaceChildren(body);
}

function grey(canvas, rows, columns, value) {
  canvas.width = columns;
  canvas.height = rows;
  const context = canvas.getContext("2d"), image = context.createImageData(columns, rows);
  for (let i = 0; i < rows * columns; i++) image.data.set(value(i), 4 * i);
  context.putImageData(image, 0, 0);
}

const logistic = (score) => 1 / (1 + Math.exp(-score));

function scores(counts, cut) {
  const most = Math.max(1, ...counts), wide = 400 / counts.length, line = logistic(cut ?? -Infinity);
  const bars = counts.map((count, i) => shape("rect", {
    x: i * wide, y: 100 - 95 * count / most, width: wide - 1, height: 95 * count / most,
    fill: (i + 0.5) / counts.length > line ? "#4a7ab5" : "#999" }));
  if (cut !== null && cut !== undefined)
    bars.push(shape("rect", { x: 400 * line, y: 0, width: 1.5, height: 100, fill: "#c33" }));
  const numbers = [-3, -2, -1, 0, 1, 2, 3].map((score) => shape("text", {
    x: 400 * logistic(score), y: 110, "font-size": 9, "text-anchor": "middle" }, score));
  at("scores").replaceChildren(...bars, ...numbers);
  at("side").textContent = "How often each score came (axis: score, closer together far from 0; tallest bar: " + most +
    "). Blue, right of the red cut" + (cut === null || cut === undefined ? "" : " at " + cut.toFixed(2)) +
    ": kept. Grey, left of it: rejected, or in shadow told to be rejected.";
}

function shape(kind, given, text = "") {
  const one = document.createElementNS("http://www.w3.org/2000/svg", kind);
  for (const [key, value] of Object.entries(given)) one.setAttribute(key, value);
  one.textContent = text;
  return one;
}

let moved = { frames: 0, at: 0 };

function state(held) {
  const { worker = {} } = held.processes, how = held.asked.shadow ? "shadow: all is kept" : "rejecting";
  const frames = (worker.counts || {}).frames || 0, now = performance.now() / 1000;
  if (frames !== moved.frames) moved = { frames, at: now };
  const since = now - moved.at, tell = (kind, text) => { at("state").className = kind; at("state").textContent = text; };
  if (!(held.at - (worker.at || 0) < 5)) tell("silent", "silent: the worker says nothing");
  else if (!frames) tell("waiting", "waiting for frames (" + how + ")");
  else if (since > 10) tell("waiting", "no frame for " + since.toFixed(0) + " s (" + how + ")");
  else tell(held.asked.shadow ? "shadow" : "rejecting", "live, " + how);
}

function draw(held) {
  const { worker = {}, learner = {}, receiver = {} } = held.processes;
  state(held);
  const counts = worker.counts || {}, waits = worker.waits || {}, frames = counts.frames || 0;
  const ms = (s) => s === undefined ? "-" : (1000 * s).toFixed(1) + " ms";
  const share = (v) => v === undefined ? "-" : (100 * v).toFixed(0) + " %";
  const of = (count = 0) => count + (frames ? " (" + share(count / frames) + ")" : "");
  table("verdicts", [
    ["frames", frames], ["kept", of(counts.kept)], ["rejected", of(counts.rejected)],
    ["would be rejected without shadow", of(counts["would reject"])],
    ["from arrival to verdict, newest messages", "half within " + ms(waits.p50) + " (p50), 99 of 100 within " + ms(waits.p99) + " (p99)"],
    ["messages that wait for the worker (in the ring)", receiver.waiting ?? "-"],
    ["generation (state of the chip) that judges", worker.model ?? "-"]]);
  if (worker.picture) {
    const [rows, columns] = worker.shape, bytes = atob(worker.picture);
    at("where").textContent = worker.series + " / " + worker.image + ": " +
      (worker.keep ? "kept" : "rejected") + (worker.keep && !worker.would && worker.why !== "audit" ? " (shadow; else rejected)" : "") +
      " by " + worker.why + ", score " + (worker.score ?? NaN).toFixed(2) + ". Black: 0, white: " +
      worker.white.toPrecision(2) + " photons or more.";
    grey(at("frame"), rows, columns, (i) => { const v = bytes.charCodeAt(i); return [v, v, v, 255]; });
  }
  if (worker.histogram) scores(worker.histogram, worker.cut);
  if (worker.weights) {
    const flat = worker.weights.flat(), most = Math.max(1e-9, ...flat.map(Math.abs));
    at("scale").textContent = "Above: output \"no hit\", below: \"hit\"; one column a block of the module, the last the bias. Orange: positive, blue: " +
      "negative, black: 0; the brightest is the largest, " + most.toPrecision(2) + ".";
    grey(at("weights"), worker.weights.length, worker.weights[0].length, (i) => {
      const v = Math.round(255 * Math.abs(flat[i]) / most);
      return flat[i] > 0 ? [v, v / 3, 0, 255] : [0, v / 3, v, 255];
    });
  }
  const [rises, falls, brighter] = worker.alarms || [], way = (v) => v === undefined ? "-" : share(v) + " of the way to the alarm";
  table("drift", [
    ["share kept rises", way(rises)], ["share kept falls", way(falls)], ["blocks brighter than usual", way(brighter)], ["more wrong verdicts, by labels", way(learner.alarm)],
    ["alarms so far", (counts.drift || 0) + ((learner.counts || {}).drift || 0)], ["dummy alarms so far", learner.dummy ?? "-"]]);
  const joules = (spent = 0, count = 0, what) => [spent.toExponential(2) + " J",
    count ? (spent / count).toExponential(2) + " J a " + what : ""];
  const teacher = learner.joules ? learner : worker;
  table("joules", [["judging", ...joules((worker.joules || {}).judging, frames, "frame")],
    ["learning", ...joules((teacher.joules || {}).learning, (teacher.counts || {}).learned, "label")]]);
  at("asked").textContent = share(held.rejected);
  table("generations", [["number", "why", "missed hits", "labels", "", ""], ...held.generations.map((g) => [g.number, g.why,
    share(g.missed ?? undefined), g.labels ?? "-", g.current ? "judges" : "", g.pinned ? "pinned" : ""])]);
  const rows = [];
  for (const [name, each] of Object.entries(held.processes))
    for (const [why, count] of Object.entries(each.counts || {})) rows.push([name, why, count, held.told[why] || ""]);
  table("counts", rows);
  for (const key of ["shadow", "learning"]) at(key).checked = held.asked[key];
  document.body.dataset.drawn = "yes";
}

async function look() {
  try {
    draw(await (await fetch("status.json")).json());
  } catch (error) {
    at("state").textContent = "the page does not answer: " + error.message;
    at("state").className = "silent";
  }
  setTimeout(look, 1000);
}

async function ask(key, value) {
  const answer = await fetch("control", {
    method: "POST", headers: { Authorization: "Bearer " + at("token").value }, body: JSON.stringify({ [key]: value }),
  });
  at("answer").textContent = answer.ok ? "done: " + key + " " + value : (await answer.json()).error;
}

for (const key of ["shadow", "learning"]) at(key).addEventListener("change", () => ask(key, at(key).checked));
for (const form of document.forms)
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    ask(form.dataset.key, form.querySelector("input").valueAsNumber);
  });

look();
