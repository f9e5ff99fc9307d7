// The photograph, large, with one map on it or two to compare; values under the pointer, and places to ask about.

import { find, make } from "./dom.js";
import { paint, valueAt } from "./paint.js";

const STEP = 1 / 24; // of the photograph, for the arrow keys

export class Stage {
  constructor(askPlace) {
    this.askPlace = askPlace;
    this.photograph = null; // ImageData, at most as large as it is shown
    this.size = null; // of the original
    this.views = [];
  }

  // concepts: none, one or two
  show(concepts, look, place) {
    const holder = find("#pictures"), count = Math.max(1, concepts.length);
    this.concepts = concepts;
    if (this.views.length !== count || this.views[0].figure.parentElement !== holder) {
      this.views = Array.from({ length: count }, (_, k) => this.view(k));
      holder.replaceChildren(...this.views.map((view) => view.figure));
    }
    holder.classList.toggle("two", concepts.length > 1);
    this.views.forEach((view, k) => {
      const concept = concepts[k];
      paint(view.canvas, this.photograph, concept, this.size, look);
      view.canvas.setAttribute("aria-label", concept ? `Map of ${concept.title}. Arrow keys move a cross, Enter asks what is there.` : "The photograph. Arrow keys move a cross, Enter asks what is there.");
      view.caption.replaceChildren(...(concept ? this.caption(concept, k) : [make("span", { class: "soft" }, "Choose a map, or click a place in the photograph to see which concepts win there.")]));
      view.mark.hidden = !place;
      if (place) this.put(view.mark, place[0] / this.size.width, place[1] / this.size.height);
    });
  }

  caption(concept, k) {
    const numbers = concept.constant ? "equally strong everywhere" : `rank ${concept.rank.toLocaleString("en")}, similarity ${concept.similarity.toFixed(3)}`;
    return [
      make("span", { class: "row" }, make("b", {}, concept.title), make("code", {}, concept.name === concept.title ? "phrase" : concept.name),
        make("button", { type: "button", class: "plain", "aria-label": `Take ${concept.title} off`, onclick: () => this.takeOff(k) }, "×")),
      make("span", { class: "soft" }, numbers),
      make("span", { class: "soft" }, concept.note || concept.definition),
    ];
  }

  view(k) {
    const canvas = make("canvas", { tabindex: "0", role: "img" });
    const value = make("output", { class: "value", hidden: true }), mark = make("span", { class: "mark", hidden: true });
    const caption = make("figcaption"), cross = [0.5, 0.5];
    const figure = make("figure", {}, make("div", { class: "frame" }, canvas, mark, value), caption);
    const at = (event) => {
      const edges = canvas.getBoundingClientRect();
      return [(event.clientX - edges.left) / edges.width, (event.clientY - edges.top) / edges.height].map((share) => Math.min(0.9999, Math.max(0, share)));
    };
    canvas.addEventListener("pointermove", (event) => this.point(at(event)));
    canvas.addEventListener("pointerleave", () => this.point(null));
    canvas.addEventListener("click", (event) => this.ask(at(event)));
    canvas.addEventListener("blur", () => this.point(null));
    canvas.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] }[event.key];
      if (move) {
        event.preventDefault();
        for (const axis of [0, 1]) cross[axis] = Math.min(0.999, Math.max(0, cross[axis] + move[axis]));
        this.point(cross);
      } else if (event.key === "Enter") {
        event.preventDefault();
        this.ask(cross);
      }
    });
    return { figure, canvas, caption, value, mark };
  }

  put(element, x, y) {
    element.style.left = `${100 * x}%`;
    element.style.top = `${100 * y}%`;
  }

  point(shares) {
    this.views.forEach(({ value }, k) => {
      const concept = this.concepts[k];
      const strength = shares && concept ? valueAt(concept, shares[0] * this.size.width, shares[1] * this.size.height) : null;
      value.hidden = strength === null;
      if (strength === null) return;
      value.textContent = strength.toFixed(2);
      value.classList.toggle("left", shares[0] > 0.8);
      this.put(value, ...shares);
    });
  }

  ask([x, y]) {
    this.askPlace([Math.floor(x * this.size.width), Math.floor(y * this.size.height)]);
  }
}
