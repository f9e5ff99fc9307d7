// A study: the photograph stays hidden, its maps can be explored, one caption is chosen. Every step is noted.

import { ask, latest } from "./api.js";
import { calm, complain, find, make, say } from "./dom.js";
import { card, painter, showPath, skeleton } from "./level.js";
import { paint, usePalette } from "./paint.js";
import { searchBox } from "./search.js";

const TOP = 12;
const askLevel = latest(), askMaps = latest();
let about = null, person = "", number = 0, size = null, began = 0, steps = [], shown = null;

function note(kind, concept) {
  steps.push({ ms: Math.round(performance.now() - began), kind, concept });
}

async function begin(event) {
  event.preventDefault();
  person = find("#person").value.trim();
  try {
    about = await ask("study", { person });
  } catch (error) {
    return complain(error);
  }
  calm();
  await next();
}

async function next() {
  const answered = new Set(about.answered);
  number = Array.from({ length: about.count }, (_, k) => k + 1).find((k) => !answered.has(k)) ?? 0;
  find("#welcome").hidden = true;
  find("#asked").hidden = !number;
  find("#end").hidden = Boolean(number);
  find("#progress").textContent = `${answered.size} of ${about.count} answered`;
  if (!number) return;
  try {
    const question = await ask(`study/questions/${number}`);
    size = { width: question.width, height: question.height };
    find("#choices").replaceChildren(...question.captions.map((caption, k) =>
      make("label", {}, make("input", { type: "radio", name: "choice", value: String(k), onchange: () => (find("#next").disabled = false) }), make("span", {}, caption))));
    find("#next").disabled = true;
    shown = null;
    find("#pictures").replaceChildren(make("div", { class: "hidden-picture" }, make("p", {}, "The photograph is hidden. Choose a map.")));
    steps = [];
    began = performance.now();
    find("#level-heading").focus();
    scrollTo(0, 0);
    await level("");
  } catch (error) {
    complain(error);
  }
}

async function level(below) {
  const list = find("#level"), asked = number;
  list.replaceChildren(...skeleton(6));
  try {
    const answer = await askLevel(`photographs/${number}/level`, { below, top: TOP });
    if (asked !== number) return;
    find("#level-heading").textContent = answer.below ? answer.below.title : "Best concepts at the broadest level";
    find("#definition").textContent = answer.below ? answer.below.definition : "Click a map to see what lies below its concept.";
    showPath(answer.path, (name) => { note("path", name); level(name); });
    draw(answer, below);
    say(`${answer.count} concepts`);
  } catch (error) {
    complain(error);
  }
}

function draw(answer, below) {
  const painted = painter(null, size);
  find("#level").replaceChildren(...answer.concepts.map((concept) => card(concept, { painted, current: shown?.name === concept.name, open: () => {
    note("map", concept.name);
    show(concept);
    if (concept.below) level(concept.name);
    else draw(answer, below);
  } })));
  const more = find("#more");
  more.hidden = answer.concepts.length >= answer.count;
  more.onclick = async () => {
    note("more", below);
    try {
      const { concepts } = await ask(`photographs/${number}/level`, { below, first: answer.concepts.length, top: TOP });
      answer.concepts.push(...concepts);
      draw(answer, below);
    } catch (error) {
      complain(error);
    }
  };
}

function show(concept) {
  shown = concept;
  const width = 720, canvas = make("canvas", { width, height: Math.max(1, Math.round((width * size.height) / size.width)), role: "img", "aria-label": `Map of ${concept.title}` });
  paint(canvas, null, concept, size, { opacity: 1, threshold: 0, box: false });
  find("#pictures").replaceChildren(make("figure", {}, make("div", { class: "frame" }, canvas),
    make("figcaption", {}, make("span", { class: "row" }, make("b", {}, concept.title), make("span", { class: "soft" }, `rank ${concept.rank}`)), make("span", { class: "soft" }, concept.note || concept.definition))));
}

async function searched(entry) {
  note(entry.phrase ? "phrase" : "search", entry.name);
  try {
    const { concepts: [concept] } = await askMaps(`photographs/${number}/maps`, { concept: entry.name });
    show(concept);
    if (entry.in_bank && entry.below) await level(entry.name);
  } catch (error) {
    complain(error);
  }
}

async function answer(event) {
  event.preventDefault();
  const choice = Number(new FormData(event.target).get("choice"));
  const given = { person, question: number, choice, seconds: (performance.now() - began) / 1000, path: steps };
  find("#next").disabled = true;
  try {
    about.answered = (await ask("study/answers", {}, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(given) })).answered;
    calm();
    await next();
  } catch (error) {
    find("#next").disabled = false;
    complain(error);
  }
}

async function start() {
  try {
    about = await ask("study");
  } catch (error) {
    return complain(error);
  }
  usePalette(about.palette);
  document.title = `${about.title} · fastconcept`;
  find("#about").textContent = `${about.title}: ${about.count} questions.`;
  find("#welcome").hidden = false;
  find("#enter").addEventListener("submit", begin);
  find("#captions").addEventListener("submit", answer);
  find("#notice .plain").addEventListener("click", calm);
  searchBox(searched, { phrases: about.phrases });
}

start();
