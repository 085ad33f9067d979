"use strict";
// Data arrives as interned tables: numbers in `columns` index `strings`, `findings` and so on.
// Text from files only ever becomes textContent; nothing here builds HTML from strings.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const col = data.columns, strings = data.strings, count = col.path.length;
  const OUTCOMES = ["rejected", "indeterminate", "accepted"];
  const MARKS = ["\u2715", "?", "\u2713"];
  const MAX_TALL = 12e6; // browsers clamp taller elements; beyond this the scroll bar is scaled
  const PRINTED = 500;
  const $ = (id) => document.getElementById(id);
  const scroll = $("scroll"), tall = $("tall"), rowsBox = $("rows"), dialog = $("details");
  const selects = { outcome: $("f-outcome"), cause: $("f-cause"), publisher: $("f-publisher"), kind: $("f-kind"), attack: $("f-attack") };

  function el(tag, attributes, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name === "class") node.className = value;
      else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else node.setAttribute(name, value);
    }
    for (const child of children.flat()) if (child !== null && child !== undefined && child !== "") node.append(child);
    return node;
  }

  // ---- sorting: every key is a number; ranks of text were computed when the page was made
  const rank = (column, table) => Float64Array.from(col[column], (id) => table[id]);
  const keys = {
    outcome: Float64Array.from(col.outcome),
    path: Float64Array.from(data.ranks.path),
    cause: rank("cause", data.ranks.strings),
    publisher: rank("publisher", data.ranks.strings),
    kind: rank("kind", data.ranks.strings),
    time: Float64Array.from(col.time, (t) => (t === null ? -Infinity : t)),
    size: Float64Array.from(col.size),
  };
  const TITLES = { outcome: "Outcome", path: "File", cause: "Cause", publisher: "Publisher", kind: "Kind", time: "Signed", size: "Size" };
  const order = new Uint32Array(count);
  let sortBy = "outcome", descending = false;
  let view = new Uint32Array(0), active = -1;

  function timed(name, work) {
    const start = performance.now();
    work();
    performance.measure(name, { start, end: performance.now() });
  }

  function sort() {
    timed("sort", () => {
      const key = keys[sortBy], path = keys.path, sign = descending ? -1 : 1;
      for (let i = 0; i < count; i++) order[i] = i;
      order.sort((a, b) => (key[a] < key[b] ? -sign : key[a] > key[b] ? sign : path[a] - path[b]));
    });
  }

  // ---- filtering
  let haystacks = null;
  function haystack() {
    if (!haystacks) {
      haystacks = new Array(count);
      for (let i = 0; i < count; i++) {
        haystacks[i] = (col.path[i] + "\n" + strings[col.publisher[i]] + "\n" + strings[col.cause[i]] + "\n" +
          OUTCOMES[col.outcome[i]] + "\n" + col.digests[i].map((d) => d[1]).join(" ")).toLowerCase();
      }
    }
    return haystacks;
  }

  function filter() {
    timed("filter", () => {
      const wanted = (name) => (selects[name].value === "" ? -1 : Number(selects[name].value));
      const outcome = wanted("outcome"), cause = wanted("cause"), publisher = wanted("publisher"), kind = wanted("kind");
      const bit = wanted("attack") < 0 ? 0 : 1 << wanted("attack");
      const words = $("q").value.toLowerCase().split(/\s+/).filter(Boolean);
      const text = words.length ? haystack() : null;
      const found = new Uint32Array(count);
      let n = 0;
      for (let k = 0; k < count; k++) {
        const i = order[k];
        if (outcome >= 0 && col.outcome[i] !== outcome) continue;
        if (cause >= 0 && col.cause[i] !== cause) continue;
        if (publisher >= 0 && col.publisher[i] !== publisher) continue;
        if (kind >= 0 && col.kind[i] !== kind) continue;
        if (bit && !(col.attack[i] & bit)) continue;
        if (text && !words.every((word) => text[i].includes(word))) continue;
        found[n++] = i;
      }
      view = found.subarray(0, n);
    });
    $("count").textContent = view.length === count ? `${count.toLocaleString("en")} files`
      : `${view.length.toLocaleString("en")} of ${count.toLocaleString("en")} files`;
    if (data.root) $("count").append(" in ", el("bdi", { class: "mono" }, data.root));
    active = view.length ? 0 : -1;
    scroll.scrollTop = 0;
    layout();
  }

  // ---- the table: only the rows in sight exist
  let rowHeight = 34, height = 0, scale = 1;
  function layout() {
    rowHeight = parseFloat(getComputedStyle(document.documentElement).getPropertyValue("--row")) || 34;
    const full = view.length * rowHeight;
    height = Math.min(full, MAX_TALL);
    const room = scroll.clientHeight;
    scale = full > height && height > room ? (full - room) / (height - room) : 1;
    $("head").style.paddingRight = `${12 + scroll.offsetWidth - scroll.clientWidth}px`;
    tall.style.height = `${Math.max(height, 1)}px`;
    draw();
  }

  const size = (bytes) => {
    if (bytes < 0) return "";
    const units = ["B", "KB", "MB", "GB", "TB"];
    let unit = 0;
    while (bytes >= 1000 && unit < 4) { bytes /= 1000; unit++; }
    return `${bytes >= 100 || !unit ? Math.round(bytes) : bytes.toFixed(1)} ${units[unit]}`;
  };
  const minute = (t) => (t === null ? "" : new Date(t * 1000).toISOString().slice(0, 16).replace("T", " ") + " UTC");
  const day = (t) => (t === null ? "" : new Date(t * 1000).toISOString().slice(0, 10));
  const outcomeWord = (i) => (OUTCOMES[col.outcome[i]] === "accepted" ? strings[col.stage[i]] : OUTCOMES[col.outcome[i]]);

  function pathCell(path) {
    const cut = Math.max(path.lastIndexOf("/"), path.lastIndexOf("\\")) + 1;
    return el("span", { class: "c-path", title: path },
      el("bdi", { class: "dir" }, path.slice(data.root.length, cut)), el("bdi", { class: "base" }, path.slice(cut)));
  }

  function row(k) {
    const i = view[k], cause = strings[col.cause[i]], publisher = strings[col.publisher[i]];
    return el("div", { class: `row${cause ? " has-cause" : ""}${k === active ? " active" : ""}`, role: "option", id: `r${k}`,
      "aria-selected": k === active, "aria-posinset": k + 1, "aria-setsize": view.length, "data-k": k },
      el("span", { class: `c-outcome o-${OUTCOMES[col.outcome[i]]}` }, el("span", { class: "mark", "aria-hidden": "true" }, MARKS[col.outcome[i]]), outcomeWord(i)),
      pathCell(col.path[i]),
      el("span", { class: "c-cause", title: cause }, cause),
      el("bdi", { class: "c-publisher", title: publisher }, publisher),
      el("span", { class: "c-kind" }, strings[col.kind[i]]),
      el("span", { class: "c-time" }, day(col.time[i])),
      el("span", { class: "c-size" }, size(col.size[i])));
  }

  function draw() {
    const top = scroll.scrollTop * scale, room = scroll.clientHeight;
    const first = Math.max(0, Math.floor(top / rowHeight) - 6);
    const last = Math.min(view.length, Math.ceil((top + room) / rowHeight) + 6);
    const box = document.createDocumentFragment();
    for (let k = first; k < last; k++) box.append(row(k));
    if (!view.length) box.append(el("div", { class: "empty" }, "No file fits these filters."));
    rowsBox.replaceChildren(box);
    rowsBox.style.transform = `translateY(${scroll.scrollTop - top + first * rowHeight}px)`;
    if (active >= 0) scroll.setAttribute("aria-activedescendant", `r${active}`);
    else scroll.removeAttribute("aria-activedescendant");
  }

  function moveTo(k) {
    if (!view.length) return;
    active = Math.max(0, Math.min(view.length - 1, k));
    const at = active * rowHeight, top = scroll.scrollTop * scale, room = scroll.clientHeight;
    if (at < top) scroll.scrollTop = at / scale;
    else if (at + rowHeight > top + room) scroll.scrollTop = (at + rowHeight - room) / scale;
    draw();
  }

  let drawing = false;
  scroll.addEventListener("scroll", () => {
    if (drawing) return;
    drawing = true;
    requestAnimationFrame(() => { drawing = false; draw(); });
  }, { passive: true });
  scroll.addEventListener("keydown", (event) => {
    const page = Math.max(1, Math.floor(scroll.clientHeight / rowHeight) - 1);
    const moves = { ArrowDown: active + 1, ArrowUp: active - 1, PageDown: active + page, PageUp: active - page, Home: 0, End: view.length - 1 };
    if (event.key in moves) { event.preventDefault(); moveTo(moves[event.key]); }
    else if ((event.key === "Enter" || event.key === " ") && active >= 0) { event.preventDefault(); show(view[active]); }
  });
  rowsBox.addEventListener("click", (event) => {
    const at = event.target.closest("[data-k]");
    if (!at) return;
    moveTo(Number(at.dataset.k));
    show(view[active]);
  });
  window.addEventListener("resize", layout);

  // ---- one file's details
  const cut = (id) => strings[id];
  function pairs(list) {
    const box = el("dl");
    for (const [name, value, kind] of list) if (value) box.append(el("dt", {}, name), el("dd", { class: kind || "" }, el("bdi", {}, value)));
    return box;
  }

  function findingBox(id) {
    const [code, effect, subject, found, required, clause, hint, offset] = data.findings[id];
    return el("div", { class: `finding e-${cut(effect)}` },
      el("p", {}, el("span", { class: "tag" }, cut(effect)), el("b", {}, cut(code)), " \u00b7 ", el("bdi", {}, cut(subject))),
      el("p", {}, "found ", el("bdi", {}, cut(found)), offset >= 0 ? ` at offset ${offset}` : "", ", required ", el("bdi", {}, cut(required))),
      clause && cut(clause) ? el("p", { class: "clause" }, "Clause: ", cut(clause)) : null,
      hint && cut(hint) ? el("p", { class: "hint" }, "Hint: ", cut(hint)) : null);
  }

  function certificateItem([id, status]) {
    const [subject, serial, sha256, from, until] = data.certificates[id];
    return el("li", {}, el("bdi", {}, cut(subject) || "a certificate that cannot be read"),
      status ? el("span", {}, ` \u00b7 revocation ${cut(status)}`) : null,
      el("div", { class: "hint" }, from === null ? "" : `valid ${day(from)} to ${day(until)} \u00b7 `, "serial ", el("span", { class: "mono" }, cut(serial))),
      el("div", { class: "hint mono" }, "SHA-256 ", cut(sha256)));
  }

  function signatureBox(s) {
    return el("div", { class: "sig" },
      el("h4", {}, `Signature ${cut(s.label)}: ${cut(s.state)}`),
      pairs([
        ["Algorithms", `${cut(s.digest)} content digest, ${cut(s.algorithm)}${s.quantum ? " (quantum safe)" : ""}`],
        [s.state_trusted ? "Signer" : "Claimed signer", cut(s.signer)],
        ["Proven time", s.proven ? `${minute(s.proven[0])}, ${cut(s.proven[1])} by ${cut(s.proven[2])}` : "none"],
        ["Claimed time", minute(s.claimed)], ["Judged at", minute(s.judged_at)],
        ["Page hashes", s.pages ? "yes" : "no"],
      ]),
      s.path ? [el("div", { class: "hint" }, `Certification path, leaf first, to ${cut(s.anchor)} (store ${cut(s.store)})`),
        el("ol", { class: "path" }, s.path.map(certificateItem))] : el("div", { class: "hint" }, "No certification path."),
      s.stamps.length ? [el("div", { class: "hint" }, "Timestamps"),
        el("ul", { class: "path" }, s.stamps.map(([kind, state, time, authority]) =>
          el("li", {}, `${cut(kind)}: ${cut(state)}${time === null ? "" : ", " + minute(time)}`, authority ? el("bdi", {}, `, ${cut(authority)}`) : null)))] : null);
  }

  function show(i) {
    const d = data.details[i], body = $("d-body");
    const techniques = data.techniques.filter((_, bit) => col.attack[i] & (1 << bit));
    body.replaceChildren(el("div", {},
      el("div", { class: "d-top" }, el("h2", { id: "d-title" }, el("bdi", {}, col.path[i])),
        el("button", { type: "button", class: "plain-button", onclick: () => dialog.close() }, "Close")),
      el("p", { class: `o-${OUTCOMES[col.outcome[i]]}` }, el("b", {}, `${MARKS[col.outcome[i]]} ${outcomeWord(i).toUpperCase()}`),
        strings[col.cause[i]] ? `: ${strings[col.cause[i]]}` : "", cut(d.windows) ? ` (${cut(d.windows)})` : ""),
      el("p", {}, el("bdi", {}, cut(d.message))),
      pairs([
        ["Publisher", strings[col.publisher[i]]], ["Lasting identity", cut(d.identity)],
        ["Kind, format", [strings[col.kind[i]], cut(d.format)].filter(Boolean).join(", ")],
        ["Size", col.size[i] < 0 ? "" : `${col.size[i].toLocaleString("en")} bytes`], ["In container", cut(d.container)],
        ["Decided by", cut(d.rule)], ["Validation time", minute(d.at)],
        ...col.digests[i].map(([name, hex]) => [strings[name], hex, "mono"]),
        ...d.facts.map(([name, value]) => [cut(name), cut(value)]),
      ]),
      el("h3", {}, d.findings.length === 1 ? "1 finding" : `${d.findings.length} findings`), d.findings.map(findingBox),
      d.signatures.length ? el("h3", {}, "Signatures") : null, d.signatures.map(signatureBox),
      techniques.length ? el("h3", {}, "ATT&CK") : null,
      techniques.length ? el("ul", {}, techniques.map(([id, name, speaks]) => el("li", {}, el("b", {}, id), ` ${name}: ${speaks}`))) : null));
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
  }
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => scroll.focus({ preventScroll: true }));

  // ---- controls
  function choices(select, title, entries) {
    select.append(el("option", { value: "" }, title));
    for (const [value, label, n] of entries) select.append(el("option", { value }, n === undefined ? label : `${label} (${n.toLocaleString("en")})`));
  }
  function tally(column) {
    const counts = new Map();
    for (const id of col[column]) counts.set(id, (counts.get(id) || 0) + 1);
    return [...counts].filter(([id]) => strings[id]).sort((a, b) => b[1] - a[1] || data.ranks.strings[a[0]] - data.ranks.strings[b[0]]).map(([id, n]) => [id, strings[id], n]);
  }
  const outcomeCounts = [0, 0, 0];
  for (const o of col.outcome) outcomeCounts[o]++;
  choices(selects.outcome, "any", OUTCOMES.map((name, o) => [o, `${MARKS[o]} ${name}`, outcomeCounts[o]]));
  for (const name of ["cause", "publisher", "kind"]) choices(selects[name], "any", tally(name));
  choices(selects.attack, "any", data.techniques.map(([id, name], bit) => [bit, `${id} ${name}`]));
  choices($("f-order"), "order", Object.entries(TITLES).flatMap(([key, title]) => [[`${key} up`, `${title} \u25B2`], [`${key} down`, `${title} \u25BC`]]));
  $("f-order").firstChild.remove();

  for (const [key, title] of Object.entries(TITLES)) {
    $("head").append(el("button", { type: "button", class: `h-${key}`, "data-sort": key,
      onclick: () => orderBy(key, key === sortBy ? !descending : key === "time" || key === "size") }, title));
  }
  function orderBy(key, down) {
    sortBy = key; descending = down;
    for (const button of $("head").children) {
      const on = button.dataset.sort === key;
      button.className = `h-${button.dataset.sort}${on ? " sorted" : ""}${on && down ? " down" : ""}`;
      button.setAttribute("aria-label", `${TITLES[button.dataset.sort]}: ${on ? (down ? "sorted, descending" : "sorted, ascending") : "sort"}`);
    }
    $("f-order").value = `${key} ${down ? "down" : "up"}`;
    sort();
    filter();
  }
  $("f-order").addEventListener("change", () => { const [key, way] = $("f-order").value.split(" "); orderBy(key, way === "down"); });
  for (const select of Object.values(selects)) select.addEventListener("change", filter);
  let typing = 0;
  $("q").addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(filter, 80); });
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  $("filters").addEventListener("reset", () => setTimeout(() => orderBy("outcome", false)));
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !dialog.open && !/^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName)) { event.preventDefault(); $("q").focus(); }
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-filter]");
    if (!button) return;
    const { filter: name, value } = button.dataset;
    const select = selects[name];
    const id = name === "outcome" ? OUTCOMES.indexOf(value) : name === "attack" ? data.techniques.findIndex(([t]) => t === value)
      : col[name].find((s) => strings[s] === value);
    for (const other of Object.values(selects)) other.value = "";
    $("q").value = "";
    select.value = String(id);
    filter();
    $("files").scrollIntoView();
    scroll.focus({ preventScroll: true });
  });

  // ---- print: a plain table of what is shown now
  window.addEventListener("beforeprint", () => {
    const shown = Array.from(view.subarray(0, PRINTED));
    $("print").replaceChildren(
      el("p", {}, view.length > PRINTED ? `The first ${PRINTED} of ${view.length.toLocaleString("en")} files.` : ""),
      el("table", {}, el("thead", {}, el("tr", {}, ["Outcome", "File", "Cause", "Publisher", "Signed"].map((t) => el("th", {}, t)))),
        el("tbody", {}, shown.map((i) => el("tr", {}, [`${MARKS[col.outcome[i]]} ${outcomeWord(i)}`, col.path[i], strings[col.cause[i]], strings[col.publisher[i]], day(col.time[i])].map((t) => el("td", {}, t)))))));
  });
  window.addEventListener("afterprint", () => $("print").replaceChildren());

  orderBy("outcome", false);
  if ("requestIdleCallback" in window) requestIdleCallback(haystack);
  document.documentElement.dataset.ready = "yes";
})();
