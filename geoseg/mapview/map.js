"use strict";
// The map. All coordinates are pixels of the scene: latitude is the row, longitude the column; zoom 0 shows
// them one to one, zoom -k is level k of the pyramid.
const data = JSON.parse(document.getElementById("map-data").textContent);
const [WIDTH, HEIGHT] = data.size;
const TILE = data.tile;
const byId = (id) => document.getElementById(id);
const all = (selector) => [...document.querySelectorAll(selector)];
const element = (name, text, className) => {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
};

// ---- where tiles, outlines and attributes come from: this file, or the server it was sent by

const bytesOf = (text) => Uint8Array.from(atob(text), (char) => char.charCodeAt(0));

function readStrokes(bytes, step, left, top) {
  let at = 0, x = 0, y = 0;
  const next = () => {
    let value = 0, factor = 1, byte;
    do { byte = bytes[at++]; value += (byte & 127) * factor; factor *= 128; } while (byte > 127);
    return value % 2 ? -(value + 1) / 2 : value / 2;
  };
  const features = [];
  for (let count = next(); count > 0; count--) {
    const feature = { number: next(), type: next(), rings: [], box: [Infinity, Infinity, -Infinity, -Infinity] };
    for (let rings = next(); rings > 0; rings--) {
      const size = next();
      const ring = new Float64Array(2 * size);
      for (let i = 0; i < size; i++) {
        x += next(); y += next();
        const px = left + x * step, py = top + y * step;
        ring[2 * i] = px; ring[2 * i + 1] = py;
        const box = feature.box;
        if (px < box[0]) box[0] = px;
        if (py < box[1]) box[1] = py;
        if (px > box[2]) box[2] = px;
        if (py > box[3]) box[3] = py;
      }
      feature.rings.push(ring);
    }
    features.push(feature);
  }
  return features;
}

const touches = (box, other) => box[0] <= other[2] && box[2] >= other[0] && box[1] <= other[3] && box[3] >= other[1];

function fromFile() {
  const loaded = data.vectors.map((vector) => readStrokes(bytesOf(vector.strokes), vector.step, 0, 0));
  const tell = (layer, feature) => {
    const number = feature.number;
    const rows = data.vectors[layer].columns.map(([name, values, texts]) => {
      const value = values[number];
      return [name, texts && value !== null ? texts[value] : value];
    });
    return { ...feature, rows: rows.filter(([, value]) => value !== null) };
  };
  const text = (raster, level, column, row) => {
    const columns = Math.ceil(WIDTH / (TILE * 2 ** level));
    return data.rasters[raster].tiles[level][row * columns + column];
  };
  return {
    image: async (raster, level, column, row) => `data:image/jpeg;base64,${text(raster, level, column, row)}`,
    png: async (raster, level, column, row) => bytesOf(text(raster, level, column, row)),
    outlines: async (layer, level, column, row, box) => {
      // Smaller than a pixel and a half on the screen they are not drawn, as the server does.
      const least = 1.5 * 2 ** level;
      const seen = loaded[layer].filter(({ box: own }) => touches(own, box) && Math.max(own[2] - own[0], own[3] - own[1]) >= least);
      return { features: seen, more: false };
    },
    feature: async (layer, number) => tell(layer, loaded[layer].find((feature) => feature.number === number)),
    ranked: async (layer, rank, sure) => tell(layer, loaded[layer].filter(({ number }) => sure(number))[rank]),
    scores: async (layer) => data.vectors[layer].columns.find(([name]) => name === "score")[1],
  };
}

function fromServer() {
  const kept = new Map();
  const ask = async (address) => {
    const answer = await fetch(address);
    if (!answer.ok) throw new Error(`${address}: ${answer.status}`);
    return answer;
  };
  const tell = async (address) => {
    if (!kept.has(address)) {
      if (kept.size > 300) kept.delete(kept.keys().next().value);
      kept.set(address, ask(address).then((answer) => answer.json()));
    }
    const told = await kept.get(address);
    const bytes = Uint8Array.from(told.strokes.match(/../g) ?? [], (pair) => parseInt(pair, 16));
    const [feature] = readStrokes(bytes, told.step, 0, 0);
    return { number: told.number, type: told.class, rows: told.rows, rings: feature?.rings ?? [], box: told.bounds };
  };
  return {
    image: async (raster, level, column, row) => `r/${raster}/${level}/${column}/${row}`,
    png: async (raster, level, column, row) => new Uint8Array(await (await ask(`r/${raster}/${level}/${column}/${row}`)).arrayBuffer()),
    outlines: async (layer, level, column, row) => {
      const bytes = new Uint8Array(await (await ask(`v/${layer}/${level}/${column}/${row}`)).arrayBuffer());
      const side = TILE * 2 ** level;
      const features = readStrokes(bytes.subarray(1), 2 ** level / 4, column * side, row * side);
      return { features, more: bytes[0] === 1 };
    },
    feature: (layer, number, level) => tell(`f/${layer}/${number}/${level}`),
    ranked: (layer, rank) => tell(`n/${layer}/${rank}/${Math.round(100 * least)}`),
    scores: async (layer) => {
      const view = new DataView(await (await ask(`s/${layer}`)).arrayBuffer());
      return Array.from({ length: view.byteLength / 2 }, (_, at) => {
        const steps = view.getUint16(2 * at, true);
        return steps === 65535 ? null : steps / 10000;
      });
    },
  };
}

const source = data.rasters[0].tiles ? fromFile() : fromServer();

// ---- pictures with a palette: read here, byte by byte, so that a class is a number and not a colour

async function readPng(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let width, height, depth;
  const parts = [];
  for (let at = 8; at < bytes.length;) {
    const size = view.getUint32(at);
    const kind = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (kind === "IHDR") [width, height, depth] = [view.getUint32(at + 8), view.getUint32(at + 12), bytes[at + 16]];
    if (kind === "IDAT") parts.push(bytes.subarray(at + 8, at + 8 + size));
    at += 12 + size;
  }
  const stream = new Blob(parts).stream().pipeThrough(new DecompressionStream("deflate"));
  const rows = new Uint8Array(await new Response(stream).arrayBuffer());
  const stride = 1 + Math.ceil((width * depth) / 8);
  const values = new Uint8Array(width * height);
  const mask = 2 ** depth - 1;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const bit = x * depth;
      const byte = rows[y * stride + 1 + (bit >> 3)];
      values[y * width + x] = (byte >> (8 - depth - (bit & 7))) & mask;
    }
  }
  return { width, height, values };  // 0 is nothing, k is class or step k - 1
}

// ---- classes: colours, patterns, and which are shown

const rgbOf = (color) => [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
const classes = {};
for (const [id, [name, color, pattern]] of Object.entries(data.classes)) {
  classes[id] = { name, color, rgb: rgbOf(color), pattern, shown: true };
}
const unnamed = { name: "", color: "#808080", rgb: [128, 128, 128], pattern: 0, shown: true };
const classOf = (id) => classes[id] ?? unnamed;
let patterned = byId("map-patterns")?.checked ?? false;

// Where a class's pattern has ink; its period is 8 pixels.
const hatches = [
  () => false,
  (x, y) => (x + y) % 8 < 2,
  (x, y) => (x - y + 8) % 8 < 2,
  (x, y) => y % 8 < 2,
  (x) => x % 8 < 2,
  (x, y) => (x % 8 < 3) && (y % 8 < 3),
  (x, y) => (x + y) % 8 < 1 || (x - y + 8) % 8 < 1,
];
const hatch = (pattern, x, y) => hatches[pattern](x & 7, y & 7);
const inkOn = ([r, g, b]) => (0.3 * r + 0.59 * g + 0.11 * b > 120 ? [0, 0, 0] : [255, 255, 255]);

function swatchOf(type, alpha, side) {
  const canvas = element("canvas");
  canvas.width = canvas.height = side;
  const context = canvas.getContext("2d");
  const picture = context.createImageData(side, side);
  const ink = inkOn(type.rgb);
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      const inked = hatch(type.pattern, x, y);
      picture.data.set([...(inked ? ink : type.rgb), inked ? Math.max(alpha, 120) : alpha], 4 * (y * side + x));
    }
  }
  context.putImageData(picture, 0, 0);
  return canvas;
}

for (const patch of all(".patch[data-class]")) {
  patch.style.backgroundImage = `url(${swatchOf(classOf(patch.dataset.class), 255, 16).toDataURL()})`;
}

// ---- the map

const crs = L.extend({}, L.CRS.Simple, { transformation: new L.Transformation(1, 0, 1, 0) });
const whole = L.latLngBounds([0, 0], [HEIGHT, WIDTH]);
const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
const map = L.map("map", {
  crs, attributionControl: false, zoomSnap: 0.25, zoomDelta: 1, minZoom: -data.coarsest - 1, maxZoom: data.enlarged,
  maxBounds: whole.pad(0.5), maxBoundsViscosity: 0.7, wheelPxPerZoomLevel: 90, zoomAnimation: !calm, fadeAnimation: !calm, inertia: !calm,
});
map.fitBounds(whole, { animate: false });
const pixelOf = (latlng) => [latlng.lng, latlng.lat];
const placeOf = (x, y) => L.latLng(y, x);

const Layer = L.GridLayer.extend({
  initialize(pane, options) {
    L.GridLayer.prototype.initialize.call(this, { tileSize: TILE, bounds: whole, keepBuffer: 1, pane, noWrap: true, minZoom: -99, updateWhenZooming: false, ...options });
  },
  createTile(coords, done) {
    const tile = element("div");
    const side = TILE * 2 ** -coords.z;
    const box = [coords.x * side, coords.y * side, Math.min(WIDTH, (coords.x + 1) * side), Math.min(HEIGHT, (coords.y + 1) * side)];
    tile.wanted = { level: -coords.z, x: coords.x, y: coords.y, side, box };
    this.fill(tile).then(() => done(null, tile), (error) => done(error, tile));
    return tile;
  },
  // A picture of the part of the tile that lies on the scene; a little wider, or lines would show between tiles.
  put(tile, picture) {
    const { box, side } = tile.wanted;
    const wide = (box[2] - box[0]) / side, high = (box[3] - box[1]) / side;
    picture.style.width = wide < 1 ? `${100 * wide}%` : "calc(100% + 0.6px)";
    picture.style.height = high < 1 ? `${100 * high}%` : "calc(100% + 0.6px)";
    tile.replaceChildren(picture);
  },
  tileAt(x, y) {
    const zoom = this._tileZoom;
    if (zoom === undefined) return null;
    const native = this._clampZoom(zoom);
    const side = TILE * 2 ** -native;
    return this._tiles[`${Math.floor(x / side)}:${Math.floor(y / side)}:${native}`]?.el ?? null;
  },
  each(visit) {
    for (const { el } of Object.values(this._tiles ?? {})) visit(el);
  },
});

const ImageLayer = Layer.extend({
  async fill(tile) {
    const { level, x, y } = tile.wanted;
    const image = element("img");
    image.alt = "";
    image.src = await source.image(this.number, level, x, y);
    await image.decode();
    this.put(tile, image);
  },
});

const IdLayer = Layer.extend({
  async fill(tile) {
    const { level, x, y } = tile.wanted;
    tile.values = await readPng(await source.png(this.number, level, x, y));
    this.paint(tile);
  },
  paint(tile) {
    if (!tile.values) return;
    const { width, height, values } = tile.values;
    const canvas = element("canvas");
    [canvas.width, canvas.height] = [width, height];
    const context = canvas.getContext("2d");
    const picture = context.createImageData(width, height);
    this.color(picture.data, values, width);
    context.putImageData(picture, 0, 0);
    this.put(tile, canvas);
  },
  valueAt(x, y) {
    const tile = this.tileAt(x, y);
    if (!tile?.values) return undefined;  // not yet here
    const { width, height, values } = tile.values;
    const { box } = tile.wanted;
    const column = Math.min(width - 1, Math.floor(((x - box[0]) / (box[2] - box[0])) * width));
    const row = Math.min(height - 1, Math.floor(((y - box[1]) / (box[3] - box[1])) * height));
    const value = values[row * width + column];
    return value === 0 || value === undefined ? null : value - 1;
  },
});

const ClassLayer = IdLayer.extend({
  color(out, values, width) {
    const looks = new Map();
    for (let at = 0; at < values.length; at++) {
      const value = values[at];
      if (value === 0) continue;
      let look = looks.get(value);
      if (look === undefined) {
        const type = classOf(value - 1);
        looks.set(value, (look = type.shown ? { rgb: type.rgb, ink: inkOn(type.rgb), pattern: patterned ? type.pattern : 0 } : null));
      }
      if (look === null) continue;
      const inked = look.pattern && hatch(look.pattern, at % width, Math.floor(at / width));
      const [r, g, b] = inked ? look.ink : look.rgb;
      out[4 * at] = r; out[4 * at + 1] = g; out[4 * at + 2] = b; out[4 * at + 3] = inked ? 150 : 255;
    }
  },
  tell(x, y) {
    const value = this.valueAt(x, y);
    if (value === undefined) return "not loaded";
    return value === null ? "no data" : classOf(value).name || `class ${value}`;
  },
});

const RampLayer = IdLayer.extend({
  color(out, values) {
    for (let at = 0; at < values.length; at++) {
      if (values[at] < 2) continue;
      const [r, g, b] = data.ramp[values[at] - 1];
      out[4 * at] = r; out[4 * at + 1] = g; out[4 * at + 2] = b; out[4 * at + 3] = 255;
    }
  },
  tell(x, y) {
    const value = this.valueAt(x, y), steps = data.ramp.length;
    if (value === undefined) return "not loaded";
    return value === null ? "no data" : `${(value / steps).toFixed(2)} to ${((value + 1) / steps).toFixed(2)}`;
  },
});

// ---- polygons

const inRing = (ring, x, y) => {
  let inside = false;
  for (let i = 0, j = ring.length - 2; i < ring.length; j = i, i += 2) {
    if (ring[i + 1] > y !== ring[j + 1] > y && x < ((ring[j] - ring[i]) * (y - ring[i + 1])) / (ring[j + 1] - ring[i + 1]) + ring[i]) inside = !inside;
  }
  return inside;
};
const holds = (feature, x, y) => {
  const box = feature.box;
  if (x < box[0] || x > box[2] || y < box[1] || y > box[3]) return false;
  return feature.rings.reduce((inside, ring) => inside !== inRing(ring, x, y), false);
};

// Those without a score are always sure enough.
const sureEnough = (layer, number) => (layer.scores?.[number] ?? 1) >= least;
const isShown = (layer, feature) => classOf(feature.type).shown && sureEnough(layer, feature.number);
let least = 0;

const patternsOf = new Map();
function fillOf(context, id) {
  const type = classOf(id);
  const key = `${id} ${patterned}`;
  if (!patternsOf.has(key)) patternsOf.set(key, patterned ? swatchOf({ ...type }, 70, 8) : `rgb(${type.rgb.join(" ")} / .3)`);
  const fill = patternsOf.get(key);
  return typeof fill === "string" ? fill : context.createPattern(fill, "repeat");
}

const OutlineLayer = Layer.extend({
  async fill(tile) {
    const { level, x, y, box, side } = tile.wanted;
    const margin = 8 * 2 ** level;
    const around = [box[0] - margin, box[1] - margin, box[0] + side + margin, box[1] + side + margin];
    tile.found = await source.outlines(this.number, level, x, y, around);
    this.paint(tile);
    if (tile.found.more) byId("map-more").hidden = false;
  },
  paint(tile) {
    if (!tile.found) return;
    const { box, level } = tile.wanted;
    const scale = 2 ** -level, sharp = Math.min(2, window.devicePixelRatio || 1);
    const canvas = element("canvas");
    canvas.width = canvas.height = TILE * sharp;
    canvas.style.width = canvas.style.height = "100%";
    const context = canvas.getContext("2d");
    context.scale(sharp, sharp);
    const shown = tile.found.features.filter((feature) => isShown(this, feature));
    const paths = shown.map((feature) => this.path(feature, box, scale));
    shown.forEach((feature, at) => {
      context.fillStyle = fillOf(context, feature.type);
      if (!this.dashed) context.fill(paths[at], "evenodd");
    });
    context.lineJoin = "round";
    const thin = level > 2 ? 0.6 : 1;
    for (const [width, color] of [[3.2 * thin, () => (this.dashed ? "#000c" : "#fffb")], [1.7 * thin, (feature) => (this.dashed ? "#fff" : classOf(feature.type).color)]]) {
      context.lineWidth = width;
      context.setLineDash(this.dashed ? [7, 4] : []);
      shown.forEach((feature, at) => {
        context.strokeStyle = color(feature);
        context.stroke(paths[at]);
      });
    }
    tile.replaceChildren(canvas);
  },
  path(feature, box, scale) {
    const path = new Path2D();
    for (const ring of feature.rings) {
      let lastX = Infinity, lastY = Infinity;
      for (let at = 0; at < ring.length; at += 2) {
        const x = (ring[at] - box[0]) * scale, y = (ring[at + 1] - box[1]) * scale;
        // Far out, many vertices are one point of the screen.
        if (at > 0 && at < ring.length - 2 && Math.abs(x - lastX) < 0.5 && Math.abs(y - lastY) < 0.5) continue;
        if (at === 0) path.moveTo(x, y); else path.lineTo(x, y);
        lastX = x; lastY = y;
      }
      path.closePath();
    }
    return path;
  },
  hit(x, y) {
    const found = this.tileAt(x, y)?.found?.features ?? [];
    // The smallest is on top.
    return found.findLast((feature) => isShown(this, feature) && holds(feature, x, y)) ?? null;
  },
});

// ---- layers in their panes

const told = byId("map-told");

const layers = [];
data.rasters.forEach((raster, number) => {
  const pane = map.createPane(`r${number}`);
  pane.style.zIndex = 210 + number;
  const kinds = { image: ImageLayer, classes: ClassLayer, ramp: RampLayer };
  const layer = new kinds[raster.kind](`r${number}`, { minNativeZoom: -data.coarsest, maxNativeZoom: -raster.finest, className: raster.kind });
  Object.assign(layer, { number });
  layers.push({ key: `r${number}`, layer, pane, title: raster.title, kind: raster.kind });
});
data.vectors.forEach((vector, number) => {
  const pane = map.createPane(`v${number}`);
  pane.style.zIndex = 240 + number;
  const layer = new OutlineLayer(`v${number}`, { minNativeZoom: -data.coarsest, maxNativeZoom: data.enlarged, className: "outlines" });
  Object.assign(layer, { number, dashed: vector.dashed });
  layers.push({ key: `v${number}`, layer, pane, title: vector.title, kind: "outlines" });
});

for (const entry of layers) {
  entry.layer.on("tileerror", ({ error }) => { told.textContent = `A part of the ${entry.title} cannot be drawn: ${error.message}`; console.error(error); });
  const box = document.querySelector(`[data-show="${entry.key}"]`);
  const slider = document.querySelector(`[data-opacity="${entry.key}"]`);
  const side = document.querySelector(`[data-side="${entry.key}"]`);
  const show = () => {
    if (box.checked) entry.layer.addTo(map); else entry.layer.remove();
    slider.disabled = !box.checked;
  };
  const fade = () => { entry.pane.style.opacity = slider.value / 100; };
  box.addEventListener("change", show);
  slider.addEventListener("input", fade);
  side.addEventListener("change", () => split());
  Object.assign(entry, { box, side });
  show();
  fade();
}
const shownLayers = () => layers.filter(({ box }) => box.checked);

function repaint() {
  for (const { layer, kind } of layers) if (kind === "classes" || kind === "outlines") layer.each((tile) => layer.paint(tile));
}
for (const box of all("[data-class-shown]")) {
  classOf(box.dataset.classShown).shown = box.checked;
  box.addEventListener("change", () => {
    classOf(box.dataset.classShown).shown = box.checked;
    repaint();
  });
}
for (const [id, wanted] of [["map-all", true], ["map-none", false]]) {
  byId(id)?.addEventListener("click", () => {
    for (const box of all(".map-classes:not(.map-kinds) [data-class-shown]")) {
      box.checked = wanted;
      classOf(box.dataset.classShown).shown = wanted;
    }
    repaint();
  });
}
// ---- scores: polygons below the least one are not shown

const scored = layers.filter(({ layer, kind }) => kind === "outlines" && data.vectors[layer.number].scored);
async function leaveUnsure() {
  const slider = byId("map-least");
  for (const { layer } of scored) layer.scores ??= await source.scores(layer.number);
  least = Number(slider.value) === Number(slider.min) ? 0 : slider.value / 100;
  byId("map-least-told").textContent = (slider.value / 100).toFixed(2);
  const counts = scored.map(({ layer, title }) => {
    const sure = layer.scores.filter((_, number) => sureEnough(layer, number)).length;
    return `${sure.toLocaleString("en")} of ${layer.scores.length.toLocaleString("en")} ${title}`;
  });
  byId("map-count").textContent = counts.join(", ");
  repaint();
}
byId("map-least")?.addEventListener("input", leaveUnsure);
if (scored.length) leaveUnsure();
byId("map-order")?.addEventListener("change", () => { rank = -1; });

byId("map-patterns")?.addEventListener("change", (event) => {
  patterned = event.target.checked;
  repaint();
});

// ---- swipe: layers of one side end at a line

const frame = document.querySelector(".map-box");
const line = element("div", undefined, "map-swipe-line");
line.hidden = true;
line.tabIndex = 0;
for (const [name, value] of Object.entries({ role: "slider", "aria-label": "Swipe line", "aria-valuemin": "0", "aria-valuemax": "100" })) line.setAttribute(name, value);
frame.append(line);
let cut = 0.5;

function split() {
  const on = !line.hidden, size = map.getSize();
  const x = Math.round(cut * size.x);
  line.style.left = `${100 * cut}%`;
  line.setAttribute("aria-valuenow", Math.round(100 * cut));
  const origin = map.containerPointToLayerPoint([0, 0]), end = map.containerPointToLayerPoint(size), at = origin.x + x;
  for (const { pane, side } of layers) {
    const [left, right] = { both: [origin.x, end.x], left: [origin.x, at], right: [at, end.x] }[side.value];
    pane.style.clipPath = on && side.value !== "both" ? `polygon(${left}px ${origin.y}px, ${right}px ${origin.y}px, ${right}px ${end.y}px, ${left}px ${end.y}px)` : "";
  }
}
const moveLine = (to) => { cut = Math.min(1, Math.max(0, to)); split(); };
byId("map-swipe")?.addEventListener("change", (event) => {
  line.hidden = !event.target.checked;
  for (const { side } of layers) side.hidden = line.hidden;
  split();
});
line.addEventListener("pointerdown", (event) => { line.setPointerCapture(event.pointerId); event.preventDefault(); line.focus(); });
line.addEventListener("pointermove", (event) => {
  if (!line.hasPointerCapture(event.pointerId)) return;
  const box = frame.getBoundingClientRect();
  moveLine((event.clientX - box.left) / box.width);
});
line.addEventListener("keydown", (event) => {
  const steps = { ArrowLeft: -0.02, ArrowRight: 0.02, Home: -1, End: 1 };
  if (!(event.key in steps)) return;
  event.preventDefault();
  moveLine(cut + steps[event.key]);
});
map.on("zoomstart", () => { byId("map-more").hidden = true; });
map.on("move zoom zoomend resize viewreset", split);

// ---- what lies where

const place = data.place;
function coordinates(x, y) {
  const parts = [`column ${Math.floor(x)}, row ${Math.floor(y)}`];
  if (place.transform) {
    const [a, b, c, d, e, f] = place.transform;
    const names = place.degrees ? ["lon", "lat"] : ["x", "y"];
    const values = [a * x + b * y + c, d * x + e * y + f].map((value) => value.toFixed(place.digits));
    parts.push(`${place.about ? "about " : ""}${names[0]} ${values[0]}, ${names[1]} ${values[1]}${place.crs ? ` (${place.crs})` : ""}`);
  }
  return parts;
}

function whatIs(x, y) {
  const inside = x >= 0 && y >= 0 && x < WIDTH && y < HEIGHT;
  if (!inside) return ["beyond the scene"];
  const told = shownLayers().filter(({ layer }) => layer.tell).map(({ layer, title }) => `${title}: ${layer.tell(x, y)}`);
  return [...coordinates(x, y), ...told];
}

const readout = byId("map-place");
const pointing = matchMedia("(hover: hover)").matches;
const hint = L.tooltip({ sticky: true, className: "map-hint", offset: [12, 0] });
let pointer = null, drawing = false;
function follow() {
  drawing = false;
  if (!pointer) return;
  const [x, y] = pixelOf(pointer);
  readout.textContent = whatIs(x, y).join("  ·  ");
  if (!pointing) return;
  const found = hitAt(x, y);
  if (!found) { map.closeTooltip(hint); return; }
  const { entry, feature } = found;
  hint.setContent(element("span", classOf(feature.type).name || `${entry.title} ${feature.number}`)).setLatLng(pointer);
  if (!map.hasLayer(hint)) map.openTooltip(hint);
  describe(entry, feature);
}
let describing = null;
function describe(entry, feature) {
  clearTimeout(describing);
  describing = setTimeout(async () => {
    const told = await ask(entry, feature);
    if (told && map.hasLayer(hint) && pointer && hitAt(...pixelOf(pointer))?.feature === feature) {
      const area = told.rows.find(([name]) => /^area/.test(name));
      const text = [classOf(feature.type).name, area && shownValue(...area)].filter(Boolean).join(" · ");
      if (text) hint.setContent(element("span", text));
    }
  }, 90);
}
map.on("mousemove", (event) => {
  pointer = event.latlng;
  if (!drawing) { drawing = true; requestAnimationFrame(follow); }
});
map.on("mouseout", () => { pointer = null; map.closeTooltip(hint); });

function hitAt(x, y) {
  for (const entry of shownLayers().reverse()) {
    const feature = entry.layer.hit?.(x, y);
    if (feature) return { entry, feature };
  }
  return null;
}
const levelNow = () => Math.min(data.coarsest, Math.max(-data.enlarged, -Math.round(map.getZoom())));
const ask = (entry, feature) => source.feature(entry.layer.number, feature.number, levelNow()).catch(() => null);

const group = new Intl.NumberFormat("en", { maximumSignificantDigits: 6 });
function shownValue(name, value) {
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value !== "number") return String(value);
  if (name === "area_m2") return `${group.format(value)} m²${value >= 1000 ? ` (${group.format(Number((value / 1e4).toPrecision(3)))} ha)` : ""}`;
  if (name === "perimeter_m") return `${group.format(value)} m`;
  return Number.isInteger(value) ? String(value) : group.format(value);
}

const shownName = (name) => name.replace(/^(area)_m2$|^(perimeter)_m$/, "$1$2").replaceAll("_", " ");

const chosen = L.layerGroup().addTo(map);
const popup = L.popup({ maxWidth: 300, className: "map-popup", autoPanPaddingTopLeft: [60, 20], autoPanPaddingBottomRight: [20, 20] });
const pairs = (numbers) => Array.from({ length: numbers.length / 2 }, (_, at) => placeOf(numbers[2 * at], numbers[2 * at + 1]));

function mark(feature) {
  chosen.clearLayers();
  const rings = feature.rings.map(pairs);
  if (!rings.length) return;
  for (const style of [{ color: "#fff", weight: 6, opacity: 0.95 }, { color: "#000", weight: 2.5, dashArray: "6 4" }]) {
    chosen.addLayer(L.polygon(rings, { ...style, fill: false, interactive: false, smoothFactor: 0.5 }));
  }
}

function tell(entry, feature, latlng) {
  const name = classOf(feature.type).name;
  const heading = element("h3", name || entry.title);
  const rows = element("table");
  for (const [key, value] of feature.rows) {
    const row = element("tr");
    const head = element("th", shownName(key));
    head.scope = "row";
    row.append(head, element("td", shownValue(key, value)));
    rows.append(row);
  }
  const content = element("div");
  content.append(heading, rows);
  mark(feature);
  popup.setLatLng(latlng).setContent(content).openOn(map);
  told.textContent = [name || entry.title, ...feature.rows.map(([key, value]) => `${shownName(key)} ${shownValue(key, value)}`)].join(", ");
}

async function identify(latlng) {
  const [x, y] = pixelOf(latlng);
  const found = hitAt(x, y), mine = ++turn;
  const answer = found && (await ask(found.entry, found.feature));
  if (mine !== turn) return;
  if (answer) { tell(found.entry, answer, latlng); return; }
  chosen.clearLayers();
  const lines = whatIs(x, y);
  const content = element("div");
  content.append(...lines.map((text) => element("p", text)));
  popup.setLatLng(latlng).setContent(content).openOn(map);
  told.textContent = lines.join(", ");
}
map.on("click", (event) => identify(event.latlng));
map.on("popupclose", () => chosen.clearLayers());

// ---- keyboard and buttons

let rank = -1, turn = 0;  // an answer that comes after the next question is not told
async function step(by) {
  const entry = shownLayers().reverse().find(({ kind }) => kind === "outlines");
  if (!entry) return;
  const { number, scores } = entry.layer;
  const order = scores ? byId("map-order").value : "size";
  const sure = (one) => sureEnough(entry.layer, one);
  const numbers = scores && [...scores.keys()].filter(sure);
  const count = numbers?.length ?? data.vectors[number].count;
  if (!count) return;
  rank = (Math.min(rank, count - 1) + by + count) % count;
  const mine = ++turn;
  if (order !== "size") numbers.sort((one, other) => (order === "sure" ? -1 : 1) * ((scores[one] ?? 1) - (scores[other] ?? 1)));
  const asked = order === "size" ? source.ranked(number, rank, sure) : source.feature(number, numbers[rank], 0);
  const feature = await asked.catch(() => null);
  if (!feature || mine !== turn) return;
  const [left, top, right, bottom] = feature.box;
  map.fitBounds(L.latLngBounds([top, left], [bottom, right]).pad(0.6), { maxZoom: 1, animate: false });
  tell(entry, feature, inner(feature));
}
// A point within: the middle of the widest stretch of the middle row.
function inner(feature) {
  const [left, top, right, bottom] = feature.box;
  const y = (top + bottom) / 2 + 1e-6, crossings = [];
  for (const ring of feature.rings) {
    for (let i = 0, j = ring.length - 2; i < ring.length; j = i, i += 2) {
      if (ring[i + 1] > y !== ring[j + 1] > y) crossings.push(((ring[j] - ring[i]) * (y - ring[i + 1])) / (ring[j + 1] - ring[i + 1]) + ring[i]);
    }
  }
  crossings.sort((a, b) => a - b);
  let best = [(left + right) / 2, -1];
  for (let at = 0; at + 1 < crossings.length; at += 2) {
    const wide = crossings[at + 1] - crossings[at];
    if (wide > best[1]) best = [(crossings[at] + crossings[at + 1]) / 2, wide];
  }
  return placeOf(best[0], y);
}

const area = byId("map");
area.addEventListener("keydown", (event) => {
  if (event.target !== area || event.ctrlKey || event.metaKey || event.altKey) return;
  const actions = { Enter: () => identify(map.getCenter()), n: () => step(1), p: () => step(-1), Escape: () => map.closePopup() };
  const action = actions[event.key] ?? actions[event.key.toLowerCase()];
  if (!action) return;
  event.preventDefault();
  action();
});
const tellMiddle = () => { readout.textContent = whatIs(...pixelOf(map.getCenter())).join("  ·  "); };
area.addEventListener("keyup", tellMiddle);
for (const { layer } of layers) layer.on("load", () => { if (document.activeElement === area && !pointer) tellMiddle(); });
byId("map-whole").addEventListener("click", () => map.fitBounds(whole));
const stage = document.querySelector(".map-and-panel");
byId("map-full").hidden = !document.fullscreenEnabled;
byId("map-full").addEventListener("click", () => (document.fullscreenElement ? document.exitFullscreen() : stage.requestFullscreen()));
new ResizeObserver(() => map.invalidateSize({ animate: false })).observe(area);
readout.textContent = pointing ? "Point at the map: what lies there is told here. Click a polygon for all of it." : "Tap a polygon, or any place.";
