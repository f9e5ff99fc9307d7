// Maps over photographs, drawn as fastconcept.viz draws them: salient regions glow, the rest falls back to a dim grey.

let palette = null;

export function usePalette(text) {
  palette = bytes(text);
}

const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));

// Cells of a map as the server sends them: float32, row by row.
export function unpack(cells) {
  if (!cells.data) cells.data = new Float32Array(bytes(cells.values).buffer);
  return cells;
}

// For each of `length` pixels between two edges: which two cells it lies between, and how far. Outside them: -1.
function samples(length, from, to, count) {
  const first = new Int32Array(length), share = new Float32Array(length);
  for (let i = 0; i < length; i++) {
    const at = ((i + 0.5 - from) / (to - from)) * count - 0.5;
    if (i + 0.5 < from || i + 0.5 > to) first[i] = -1;
    else if (at <= 0) first[i] = 0;
    else if (at >= count - 1) { first[i] = Math.max(0, count - 2); share[i] = count > 1 ? 1 : 0; }
    else { first[i] = Math.floor(at); share[i] = at - first[i]; }
  }
  return { first, share };
}

// The values of a map at every pixel of a picture: (height * width) float32 in [0, 1], bilinear between cells.
export function spread(map, size, width, height) {
  const { data, height: rows, width: columns } = unpack(map.cells);
  const scale = width / size.width;
  const [x0, y0, x1, y1] = map.region.map((edge) => edge * scale);
  const across = samples(width, x0, x1, columns), down = samples(height, y0, y1, rows);
  const values = new Float32Array(width * height);
  for (let y = 0; y < height; y++) {
    const top = down.first[y];
    if (top < 0) continue;
    const bottom = Math.min(rows - 1, top + 1), v = down.share[y];
    for (let x = 0; x < width; x++) {
      const left = across.first[x];
      if (left < 0) continue;
      const right = Math.min(columns - 1, left + 1), u = across.share[x];
      const upper = data[top * columns + left] * (1 - u) + data[top * columns + right] * u;
      const lower = data[bottom * columns + left] * (1 - u) + data[bottom * columns + right] * u;
      values[y * width + x] = upper * (1 - v) + lower * v;
    }
  }
  return values;
}

// Paint a map over a photograph (ImageData), or on black where there is none to show.
export function paint(canvas, photograph, map, size, look) {
  const { width, height } = photograph ?? canvas;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  if (!map) {
    context.putImageData(photograph, 0, 0);
    return;
  }
  const values = spread(map, size, width, height);
  const target = context.createImageData(width, height);
  const to = target.data, from = photograph?.data;
  const { opacity, threshold } = look, dimmed = Math.min(1, opacity * 2);
  for (let i = 0, p = 0; i < values.length; i++, p += 4) {
    const value = Math.min(1, Math.max(0, values[i]));
    const colour = 3 * Math.round(value * 255);
    if (!from) {
      const on = value >= threshold ? 1 : 0.25;
      for (let c = 0; c < 3; c++) to[p + c] = palette[colour + c] * on;
    } else {
      const grey = 0.55 * (from[p] + from[p + 1] + from[p + 2]) / 3;
      const strength = value >= threshold ? opacity * value * value : 0;
      for (let c = 0; c < 3; c++) {
        const dim = from[p + c] * (1 - dimmed) + (grey + 0.15 * from[p + c]) * dimmed;
        to[p + c] = (1 - strength) * dim + strength * (0.45 * from[p + c] + 0.55 * palette[colour + c]);
      }
    }
    to[p + 3] = 255;
  }
  context.putImageData(target, 0, 0);
  if (look.box) {
    const scale = width / size.width;
    const [x0, y0, x1, y1] = boxOf(map, threshold || 0.5).map((edge) => edge * scale);
    context.lineWidth = Math.max(2, Math.round(Math.min(width, height) / 120));
    context.strokeStyle = "white";
    context.strokeRect(x0, y0, x1 - x0, y1 - y0);
  }
}

// Box around the largest 4-connected part of a map at or above a threshold, in pixels of the photograph.
export function boxOf(map, threshold) {
  const { data, height, width } = unpack(map.cells);
  const seen = new Uint8Array(data.length);
  let best = null;
  for (let start = 0; start < data.length; start++) {
    if (seen[start] || data[start] < threshold) continue;
    seen[start] = 1;
    const part = [start];
    let [left, top, right, bottom] = [width, height, 0, 0];
    for (const cell of part) {
      const x = cell % width, y = (cell - x) / width;
      left = Math.min(left, x); right = Math.max(right, x + 1);
      top = Math.min(top, y); bottom = Math.max(bottom, y + 1);
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        const nx = x + dx, ny = y + dy, next = ny * width + nx;
        if (nx < 0 || ny < 0 || nx >= width || ny >= height || seen[next] || data[next] < threshold) continue;
        seen[next] = 1;
        part.push(next);
      }
    }
    if (!best || part.length > best.count) best = { count: part.length, edges: [left, top, right, bottom] };
  }
  const [x0, y0, x1, y1] = map.region, [left, top, right, bottom] = best?.edges ?? [0, 0, width, height];
  const across = (x1 - x0) / width, down = (y1 - y0) / height;
  return [x0 + left * across, y0 + top * down, x0 + right * across, y0 + bottom * down];
}

// The value of a map at a point of the photograph, in pixels; null where it was not looked at.
export function valueAt(map, x, y) {
  const { data, height, width } = unpack(map.cells), [x0, y0, x1, y1] = map.region;
  if (x < x0 || y < y0 || x >= x1 || y >= y1) return null;
  return data[Math.floor(((y - y0) / (y1 - y0)) * height) * width + Math.floor(((x - x0) / (x1 - x0)) * width)];
}
