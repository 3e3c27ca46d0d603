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

function scores(counts, cut) {
  const svg = at("scores"), most = Math.max(1, ...counts), wide = 400 / counts.length;
  const bars = counts.map((count, i) => box(i * wide, 100 - 95 * count / most, wide - 1, 95 * count / most, "#4a7ab5"));
  if (cut !== null && cut !== undefined) bars.push(box(400 / (1 + Math.exp(-cut)), 0, 1.5, 100, "#c33"));
  svg.replaceChildren(...bars);
}

function box(x, y, width, height, fill) {
  const one = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  for (const [key, value] of Object.entries({ x, y, width, height, fill })) one.setAttribute(key, value);
  return one;
}

function draw(held) {
  const { worker = {}, learner = {}, receiver = {} } = held.processes;
  const age = held.at - (worker.at || 0), live = age < 5;
  at("state").textContent = live ? (worker.shadow ? "live, shadow: all is kept" : "live, rejecting") : "silent";
  at("state").className = live ? "live" : "silent";
  const counts = worker.counts || {}, waits = worker.waits || {};
  const ms = (s) => s === undefined ? "-" : (1000 * s).toFixed(1) + " ms";
  table("verdicts", [
    ["frames", counts.frames || 0], ["kept", counts.kept || 0], ["rejected", counts.rejected || 0],
    ["p50, p99", ms(waits.p50) + ", " + ms(waits.p99)],
    ["waiting in the ring", receiver.waiting ?? "-"], ["generation", worker.model ?? "-"]]);
  if (worker.picture) {
    const [rows, columns] = worker.shape, bytes = atob(worker.picture);
    at("where").textContent = worker.series + " / " + worker.image;
    grey(at("frame"), rows, columns, (i) => { const v = bytes.charCodeAt(i); return [v, v, v, 255]; });
  }
  if (worker.histogram) scores(worker.histogram, worker.cut);
  if (worker.weights) {
    const flat = worker.weights.flat(), most = Math.max(1e-9, ...flat.map(Math.abs));
    grey(at("weights"), worker.weights.length, worker.weights[0].length, (i) => {
      const v = Math.round(255 * Math.abs(flat[i]) / most);
      return flat[i] > 0 ? [v, v / 3, 0, 255] : [0, v / 3, v, 255];
    });
  }
  const share = (v) => v === undefined ? "-" : (100 * v).toFixed(0) + " %";
  table("drift", [
    ["share kept rises, falls", (worker.alarms || []).map((v) => share(v / 11.513)).join(", ") || "-"],
    ["wrong verdicts, by labels", share(learner.alarm)], ["alarms so far", (counts.drift || 0) + ((learner.counts || {}).drift || 0)],
    ["dummy alarms so far", learner.dummy ?? "-"]]);
  table("joules", [["judging", ((worker.joules || {}).judging || 0).toExponential(2) + " J"],
    ["learning", ((learner.joules || {}).learning || 0).toExponential(2) + " J"]]);
  table("generations", [["number", "why", "missed hits", "labels", "", ""], ...held.generations.map((g) => [g.number, g.why,
    share(g.missed ?? undefined), g.labels ?? "-", g.current ? "judges" : "", g.pinned ? "pinned" : ""])]);
  const rows = [];
  for (const [name, each] of Object.entries(held.processes))
    for (const [why, count] of Object.entries(each.counts || {})) rows.push([name, why, count, held.told[why] || ""]);
  table("counts", rows);
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

at("control").addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = at("value").value.trim();
  const value = { true: true, false: false }[text] ?? Number(text);
  const answer = await fetch("control", {
    method: "POST", headers: { Authorization: "Bearer " + at("token").value },
    body: JSON.stringify({ [at("key").value]: value }),
  });
  at("answer").textContent = JSON.stringify(await answer.json());
});

look();
