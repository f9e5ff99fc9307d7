// The photograph in a few words (SpLiCE): how sparse, which words, and what is near it without some of them.

import { latest, pictureOf } from "./api.js";
import { complain, find, later, make } from "./dom.js";
import { write } from "./state.js";

const SHOWN = 12; // words, until all are asked for
const asked = latest();
let all = false;

export async function showWords(state, openPhotograph, aboutPhotograph) {
  find("#l1").value = state.l1;
  find('output[for="l1"]').textContent = state.l1.toFixed(2);
  let answer;
  try {
    answer = await aboutPhotograph(() => asked(`photographs/${state.photo}/words`, { l1_penalty: state.l1, without: state.without }));
  } catch (error) {
    return complain(error);
  }
  find("#words").hidden = false;
  const without = new Set(state.without), longest = Math.max(...answer.words.map(([, weight]) => weight), 1e-9);
  const gone = answer.words.filter(([word]) => without.has(word));
  find("#words-note").textContent = answer.words.length
    ? `${answer.l0} words, cosine ${answer.cosine.toFixed(3)} to the photograph` +
      (gone.length ? `; ${answer.cosine_left.toFixed(3)} without ${gone.map(([word]) => word).join(", ")}` : "")
    : "No word at this penalty; move the slider to the left.";
  const lines = answer.words.map(([word, weight]) => line(word, weight / longest, weight, without, state));
  const rest = all ? [] : lines.splice(SHOWN);
  const more = make("li", {}, make("button", { type: "button", class: "link", onclick: () => { all = true; more.replaceWith(...rest); } }, `Show all ${answer.words.length} words`));
  find("#word-list").replaceChildren(...lines, ...(rest.length ? [more] : []));
  showAround(answer.around, gone.length > 0, openPhotograph);
}

function line(word, share, weight, without, state) {
  const off = without.has(word), bar = make("i", { "aria-hidden": "true" });
  bar.style.width = `${Math.max(1, 100 * share)}%`;
  const others = state.without.filter((other) => other !== word);
  return make("li", { class: off ? "off" : null },
    make("button", { type: "button", class: "word", onclick: () => write({ concept: word, with: "", place: "" }), title: `Where is ${word}?` },
      make("span", {}, word), make("span", { class: "bar-of" }, bar), make("span", { class: "number" }, weight.toFixed(3))),
    make("button", { type: "button", class: "plain", "aria-pressed": String(off), "aria-label": `${off ? "Put back" : "Take out"} ${word}`,
      title: off ? "Put it back" : "Take this word out", onclick: () => write({ without: off ? others : [...others, word] }, true) }, off ? "+" : "×"));
}

function showAround(around, changed, openPhotograph) {
  const place = find("#around");
  place.hidden = !around;
  if (!around) return;
  const strip = ({ nearest }) => make("ul", { class: "near" }, ...nearest.map(({ id, name, cosine }) =>
    make("li", {}, make("button", { type: "button", title: `${name}, cosine ${cosine.toFixed(3)}`, onclick: () => openPhotograph(id) },
      make("img", { src: pictureOf(id, true), alt: name, loading: "lazy" })))));
  const classes = (side) => side.classes.map(({ name, cosine }) => `${name} ${cosine.toFixed(3)}`).join(" · ");
  const row = (title, side) => [make("h3", {}, title), strip(side), side.classes.length ? make("p", { class: "soft" }, `Classes: ${classes(side)}`) : null];
  place.replaceChildren(
    ...row(changed ? "Nearest with all words" : "Nearest photographs", around.with).filter(Boolean),
    ...(changed ? row("Nearest without the words taken out", around.left).filter(Boolean) : []),
  );
}

export function wordControls() {
  const settle = later(90, (value) => write({ l1: value }, true));
  find("#l1").addEventListener("input", (event) => {
    const value = Number(event.target.value);
    find('output[for="l1"]').textContent = value.toFixed(2);
    settle(value);
  });
}
