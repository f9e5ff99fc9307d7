// The explorer: reads the view from the address, asks the server for what it lacks, and draws it.

import { ask, latest, pictureOf, send } from "./api.js";
import { calm, complain, find, later, make, save, say } from "./dom.js";
import { card, painter, showPath, skeleton } from "./level.js";
import { boxOf, usePalette } from "./paint.js";
import { searchBox } from "./search.js";
import { Stage } from "./stage.js";
import { link, read, useDefaults, write } from "./state.js";
import { showWords, wordControls } from "./words.js";

const PAGE = 12, LARGEST = 900, THUMBNAIL = 240; // concepts at once; pixels on a side of the stage and of cards
const files = new Map(), names = new Map(); // by id: what was dropped here, and what photographs are called
const cache = { id: "", pictures: null, levels: new Map(), maps: new Map(), wordsOf: "" };
const askLevel = latest(), askMaps = latest(), askPlaces = latest();
let about = null, current = [], begin;
const begun = new Promise((resolve) => { begin = resolve; }); // photographs that come before are opened then

const stage = new Stage((place) => write({ place: place.join(",") }, true));

// Photographs -------------------------------------------------------------------------------------------------------

async function open(list) {
  const images = [...list].filter((file) => file.type.startsWith("image/") || /\.(jpe?g|png|webp|gif|bmp|tiff?)$/i.test(file.name));
  if (!images.length) return complain(new Error("That is no photograph; JPEG, PNG and WebP files are read, among others."));
  calm();
  await begun;
  for (const [k, file] of images.entries()) {
    if (file.size > about.max_upload) {
      complain(new Error(`${file.name} has ${(file.size / 1e6).toFixed(0)} MB; the explorer takes at most ${(about.max_upload / 1e6).toFixed(0)} MB.`));
      continue;
    }
    say(`Sending ${file.name}`);
    try {
      const { id } = await send(file);
      files.set(id, file);
      names.set(id, file.name || "pasted photograph");
      showStrip();
      if (k === 0) openPhotograph(id);
    } catch (error) {
      error.message = error.message.replace(/^the image /, `${file.name || "the pasted image"} `);
      complain(error);
    }
  }
}

function openPhotograph(id) {
  if (id === read().photo) return view();
  write({ photo: id, place: "", without: [] });
}

// Ask about a photograph; one that the server has forgotten is sent again, where the page still has it.
async function aboutPhotograph(question) {
  try {
    return await question();
  } catch (error) {
    const file = files.get(read().photo);
    if (error.name !== "UnknownImageError" || !file) throw error;
    await send(file);
    return question();
  }
}

function showStrip() {
  const chosen = read().photo;
  find("#strip").replaceChildren(...[...names].slice(0, 60).map(([id, name]) =>
    make("li", {}, make("button", { type: "button", "data-id": id, "aria-current": id === chosen ? "true" : null, title: name, onclick: () => openPhotograph(id) },
      make("img", { src: pictureOf(id, true), alt: name, width: 40, height: 40, loading: "lazy" })))));
}

async function load(id) {
  const size = await aboutPhotograph(() => ask(`photographs/${id}`));
  const blob = await (await fetch(pictureOf(id))).blob();
  const bitmap = await createImageBitmap(blob);
  const scaled = (side) => {
    const scale = side / Math.max(bitmap.width, bitmap.height);
    const canvas = make("canvas", { width: Math.max(1, Math.round(bitmap.width * scale)), height: Math.max(1, Math.round(bitmap.height * scale)) });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    return context.getImageData(0, 0, canvas.width, canvas.height);
  };
  const ratio = Math.min(2, devicePixelRatio || 1);
  Object.assign(cache, { id, pictures: { size, stage: scaled(LARGEST * Math.min(ratio, 1.5)), card: scaled(THUMBNAIL) }, wordsOf: "" });
  cache.levels.clear();
  cache.maps.clear();
  Object.assign(stage, { photograph: cache.pictures.stage, size });
}

// Views -------------------------------------------------------------------------------------------------------------

let views = 0;

async function view() {
  const mine = ++views, state = read();
  const stale = () => mine !== views;
  state.mode ||= about.mode;
  find("#welcome").hidden = Boolean(state.photo);
  find("#work").hidden = !state.photo;
  document.title = "fastconcept explorer";
  controls(state);
  if (!state.photo) return;
  try {
    if (cache.id !== state.photo) {
      stage.concepts = [];
      find("#pictures").replaceChildren(make("div", { class: "ghost picture" }));
      find("#words").hidden = true;
      await load(state.photo);
      if (stale()) return;
      showStrip();
    }
    calm();
    if (!state.concept) drawStage(state, []);
    await Promise.all([words(state), level(state, stale), maps(state, stale), place(state, stale)]); // words are there first
  } catch (error) {
    if (stale() || error.name === "AbortError") return;
    if (error.status === 404) {
      find("#work").hidden = true;
      find("#welcome").hidden = false;
      error.message = "This view belongs to a photograph that the explorer does not have any more. Open it again, and the view comes back.";
    }
    complain(error);
    say("");
  }
}

function controls(state) {
  for (const name of ["opacity", "threshold"]) {
    find(`#${name}`).value = state[name];
    find(`output[for="${name}"]`).textContent = name === "threshold" && !state[name] ? "off" : state[name].toFixed(2);
  }
  find("#box").checked = state.box;
  for (const input of document.querySelectorAll("#modes input")) input.checked = input.value === state.mode;
  for (const button of document.querySelectorAll("#strip button")) {
    if (button.dataset.id === state.photo) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
}

const nameOf = (concept) => concept.name;

async function level(state, stale) {
  const key = `${state.mode} ${state.below}`;
  let answer = cache.levels.get(key);
  const list = find("#level");
  if (!answer) {
    list.replaceChildren(...skeleton(PAGE / 2));
    list.setAttribute("aria-busy", "true");
    find("#more").hidden = true;
    const waiting = setTimeout(() => say(`Looking at the photograph by ${state.mode}`), 300);
    find("#made").textContent = "looking …";
    try {
      answer = await aboutPhotograph(() => askLevel(`photographs/${state.photo}/level`, { mode: state.mode, below: state.below, top: PAGE }));
    } finally {
      clearTimeout(waiting);
      list.setAttribute("aria-busy", "false");
    }
    cache.levels.set(key, answer);
  }
  if (stale()) return;
  const { below } = answer;
  find("#level-heading").textContent = below ? below.title : "Best concepts at the broadest level";
  find("#definition").textContent = below ? below.definition : "Click a map to see what lies below its concept.";
  find("#made").textContent = madeOf(answer);
  showPath(answer.path, (name) => write({ below: name, concept: name, with: "", place: "" }));
  drawLevel(answer, state);
  say(`${answer.count} concepts ${below ? `below ${below.title}` : "at the broadest level"}`);
}

function drawLevel(answer, state) {
  const painted = painter(cache.pictures.card, cache.pictures.size);
  const cards = answer.concepts.map((concept) => card(concept, {
    painted,
    current: state.concept === concept.name || state.with === concept.name,
    open: () => descend(concept),
    compare: state.concept && state.concept !== concept.name && (() => write({ with: concept.name, place: "" })),
  }));
  find("#level").replaceChildren(...cards);
  if (!answer.concepts.length) find("#level").append(make("li", { class: "soft" }, "No concept of the bank lies below this one."));
  const more = find("#more");
  more.hidden = answer.concepts.length >= answer.count;
  more.textContent = `Show ${Math.min(PAGE, answer.count - answer.concepts.length)} more of ${answer.count}`;
  more.onclick = async () => {
    try {
      const next = await ask(`photographs/${state.photo}/level`, { mode: state.mode, below: state.below, first: answer.concepts.length, top: PAGE });
      answer.concepts.push(...next.concepts);
      drawLevel(answer, read());
    } catch (error) {
      complain(error);
    }
  };
}

function descend(concept) {
  cache.maps.set(`${read().mode || about.mode} ${concept.name}`, concept);
  write({ concept: concept.name, with: "", place: "", ...(concept.below ? { below: concept.name } : {}) });
  const edges = find("#pictures").getBoundingClientRect();
  if (edges.top < 0 || edges.top > innerHeight / 2) find("#pictures").scrollIntoView({ block: "start" });
}

function madeOf({ mode, timings_ms }) {
  const seconds = Object.entries(timings_ms).reduce((sum, [, spent]) => sum + spent, 0) / 1000;
  return `${mode}, ${seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(1)} s`}`;
}

async function maps(state, stale) {
  const wanted = [state.concept, state.with].filter(Boolean);
  if (!wanted.length) return;
  const keys = wanted.map((name) => `${state.mode} ${name}`), missing = wanted.filter((_, k) => !cache.maps.has(keys[k]));
  if (missing.length) {
    const { concepts } = await aboutPhotograph(() => askMaps(`photographs/${state.photo}/maps`, { mode: state.mode, concept: missing }));
    concepts.forEach((concept, k) => cache.maps.set(`${state.mode} ${missing[k]}`, concept));
  }
  if (!stale()) drawStage(read(), keys.map((key) => cache.maps.get(key)));
}

function drawStage(state, concepts) {
  current = concepts;
  document.title = concepts.length ? `${concepts.map(({ title }) => title).join(" and ")} · fastconcept explorer` : "fastconcept explorer";
  stage.show(concepts, state, state.place ? state.place.split(",").map(Number) : null);
}

stage.takeOff = (k) => write(k ? { with: "" } : { concept: read().with, with: "" });

async function place(state, stale) {
  const here = find("#here");
  if (!state.place) return void (here.hidden = true);
  const [x, y] = state.place.split(",").map(Number);
  const answer = await aboutPhotograph(() => askPlaces(`photographs/${state.photo}/place`, { mode: state.mode, x, y }));
  if (stale()) return;
  here.hidden = false;
  find("ol", here).replaceChildren(...answer.concepts.map((concept) => make("li", {},
    make("button", { type: "button", class: "word", title: concept.definition, onclick: () => write({ concept: concept.name, with: "" }) },
      make("span", {}, concept.title), make("span", { class: "soft" }, concept.definition), make("span", { class: "number" }, concept.patches >= 0.005 ? `wins ${Math.round(100 * concept.patches)} %` : "")))));
  say(`At this place: ${answer.concepts.map(({ title }) => title).join(", ")}`);
}

async function words(state) {
  if (!about.words) return;
  const key = JSON.stringify([state.photo, state.l1, state.without, about.folder.ready]);
  if (cache.wordsOf === key) return;
  cache.wordsOf = key;
  await showWords(state, openPhotograph, aboutPhotograph);
}

// A slider moves: only the stage is drawn again.
function look(changes) {
  write(changes, true);
}

let drawn = "";
addEventListener("viewchange", () => {
  const { opacity, threshold, box, ...rest } = read();
  const key = JSON.stringify(rest);
  if (key === drawn && cache.id === rest.photo) {
    controls({ ...read(), mode: rest.mode || about.mode });
    return drawStage(read(), current);
  }
  drawn = key;
  view();
});
addEventListener("popstate", () => dispatchEvent(new Event("viewchange")));

// Save --------------------------------------------------------------------------------------------------------------

const fileName = () => (names.get(read().photo) || "photograph").replace(/^.*[/\\]/, "");
const stem = () => [fileName().replace(/\.\w+$/, ""), ...current.map(({ title }) => title)].join(" ").replace(/[^\p{L}\p{N}]+/gu, "-");

function python() {
  const state = read(), text = JSON.stringify, mode = state.mode || about.mode;
  const names_ = current.map(nameOf);
  const bundle = about.bundle ? text(about.bundle) : "";
  const lines = ["import fastconcept as fc", "", `engine = fc.load(${bundle})`, `evidence = engine.evidence(${text(fileName())}, mode=${text(mode)})`];
  if (names_.length) {
    lines.push(`seen = engine.read(evidence, [${names_.map((name) => text(name)).join(", ")}])`, "for concept in seen:",
      "    print(concept.name, concept.rank, concept.similarity, concept.box())",
      `seen.overlay(${state.box ? "box=True" : ""}).save(${text(`${stem()}.png`)})`);
  } else {
    lines.push(`for concept in engine.concepts(evidence, top=12${state.below ? `, below=${text(state.below)}` : ""}):`, "    print(concept.name, concept.score)");
  }
  if (about.words) {
    lines.push("", `words = engine.decompose(${text(fileName())}, l1_penalty=${state.l1})`,
      `print(words.top(10)${state.without.length ? `, words.without(${state.without.map((word) => text(word)).join(", ")}).cosine` : ""})`);
  }
  return `${lines.join("\n")}\n`;
}

function picture() {
  const canvases = stage.views.map(({ canvas }) => canvas), gap = 12;
  const sheet = make("canvas", { width: canvases.reduce((sum, { width }) => sum + width + gap, -gap), height: canvases[0].height });
  const context = sheet.getContext("2d");
  let left = 0;
  for (const canvas of canvases) {
    context.drawImage(canvas, left, 0);
    left += canvas.width + gap;
  }
  sheet.toBlob((blob) => save(`${stem()}.png`, blob), "image/png");
}

const savers = {
  png: picture,
  json: async () => {
    const state = read();
    const concepts = current.map(nameOf);
    const answer = concepts.length
      ? await ask(`photographs/${state.photo}/maps`, { mode: state.mode || about.mode, concept: concepts })
      : await ask(`photographs/${state.photo}/level`, { mode: state.mode || about.mode, below: state.below, top: PAGE });
    save(`${stem()}.json`, new Blob([JSON.stringify({ photograph: fileName(), sha256: state.photo, ...answer }, null, 2)], { type: "application/json" }));
  },
  python: () => {
    find("#code code").textContent = python();
    find("#code").showModal();
  },
  link: async () => {
    await navigator.clipboard.writeText(link());
    say("The link is copied.");
  },
};

function savingMenu() {
  const menu = find("#save"), dialog = find("#code");
  for (const button of menu.querySelectorAll("button")) {
    button.addEventListener("click", async () => {
      menu.open = false;
      try {
        await savers[button.dataset.save]();
      } catch (error) {
        complain(error);
      }
    });
  }
  addEventListener("click", (event) => { if (!menu.contains(event.target)) menu.open = false; });
  menu.addEventListener("keydown", (event) => { if (event.key === "Escape") { menu.open = false; find("summary", menu).focus(); } });
  find(".plain", dialog).addEventListener("click", () => dialog.close());
  find("#copy").addEventListener("click", async () => { await navigator.clipboard.writeText(python()); find("#copy").textContent = "Copied"; setTimeout(() => (find("#copy").textContent = "Copy"), 1500); });
  find("#keep").addEventListener("click", () => save(`${stem()}.py`, new Blob([python()], { type: "text/x-python" })));
}

// Start -------------------------------------------------------------------------------------------------------------

function modes() {
  const descriptions = { windows: "One pass over the photograph per patch size: quick, and a method of its own", crops: "Every patch on its own, as the paper does: slower", dense: "The tokens of one pass of a transformer: quick, and a method of its own" };
  const place = find("#modes");
  place.hidden = about.modes.length < 2;
  for (const mode of about.modes) {
    place.append(make("label", { title: descriptions[mode.split(":")[0]] }, make("input", { type: "radio", name: "mode", value: mode, onchange: () => write({ mode: mode === about.mode ? "" : mode, place: "" }) }), make("span", {}, mode)));
  }
}

function opening() {
  const file = find("#file"), veil = find("#veil");
  for (const id of ["#choose", "#choose-too"]) find(id).addEventListener("click", () => file.click());
  file.addEventListener("change", () => { open(file.files); file.value = ""; });
  addEventListener("paste", (event) => { if (event.clipboardData.files.length) open(event.clipboardData.files); });
  addEventListener("dragover", (event) => { event.preventDefault(); veil.hidden = !event.dataTransfer.types.includes("Files"); });
  addEventListener("dragleave", (event) => { if (!event.relatedTarget) veil.hidden = true; });
  addEventListener("drop", (event) => { event.preventDefault(); veil.hidden = true; if (event.dataTransfer.files.length) open(event.dataTransfer.files); });
}

function wire() {
  for (const name of ["opacity", "threshold"]) find(`#${name}`).addEventListener("input", (event) => look({ [name]: Number(event.target.value) }));
  find("#box").addEventListener("change", (event) => look({ box: event.target.checked }));
  find("#leave").addEventListener("click", () => write({ place: "" }, true));
  find("#notice .plain").addEventListener("click", calm);
  addEventListener("keydown", (event) => { if (event.key === "Escape" && read().place && !find("#code").open) write({ place: "" }, true); });
  searchBox((entry) => write({ concept: entry.name, with: "", place: "", ...(entry.in_bank && entry.below ? { below: entry.name } : {}) }), { phrases: about.phrases });
  wordControls();
  savingMenu();
}

// A folder is embedded while the page is used; what is near appears when it is done.
async function folder() {
  while (!about.folder.ready) {
    await new Promise((resolve) => setTimeout(resolve, 1500));
    about.folder = (await ask("about")).folder;
  }
  if (about.folder.count && cache.id) words(read());
}

async function start() {
  opening();
  try {
    about = await ask("about");
  } catch (error) {
    return complain(error);
  }
  usePalette(about.palette);
  useDefaults({ l1: about.l1_penalty });
  find("#model").textContent = `The model is ${about.model}, with ${about.concepts.toLocaleString("en")} concepts.`;
  for (const { id, name } of about.photographs) names.set(id, name);
  modes();
  wire();
  showStrip();
  if (!read().photo && about.photographs.length) write({ photo: about.photographs[0].id }, true);
  else dispatchEvent(new Event("viewchange"));
  begin();
  folder().catch(complain);
}

start();
