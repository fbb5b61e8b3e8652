"use strict";
// The table of records: choose, search, filter, sort, and read one with its rewards.
// All texts come from data and are only ever set as text.

(async () => {
  const section = document.getElementById("records");
  if (!section) return;
  const PAGE = 50;
  const find = (name) => section.querySelector(`[data-part=${name}]`);
  const body = find("rows");
  const dialog = document.getElementById("record");

  function make(tag, properties = {}, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  }

  async function unpack() {
    const packed = document.getElementById("records-data").textContent.trim();
    const bytes = Uint8Array.from(atob(packed), (sign) => sign.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).json();
  }

  let data;
  try {
    data = await unpack();
  } catch {
    find("status").textContent = "This browser is too old to unpack the records.";
    return;
  }

  const state = { collection: null, rows: [], visible: [], shown: PAGE, open: null };
  const sort = { key: "index", descending: false };
  const mean = (values) => values.reduce((sum, each) => sum + each, 0) / values.length;
  const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;

  // What each model says of each record: its margin in units of the deviation of all of its
  // rewards on the set, and the share of chosen × rejected pairs that it ranks right.
  function judge(collection, cell) {
    if (cell.judged) return cell.judged;
    const centre = mean(cell.rewards);
    const deviation = Math.sqrt(mean(cell.rewards.map((each) => (each - centre) ** 2))) || 1;
    let start = 0;
    cell.judged = collection.ids.map((_, index) => {
      const [chosenCount, rejectedCount] = collection.sizes?.[index] ?? [1, 1];
      const chosen = cell.rewards.slice(start, start + chosenCount);
      const rejected = cell.rewards.slice(start + chosenCount, start + chosenCount + rejectedCount);
      start += chosenCount + rejectedCount;
      return {
        chosen,
        rejected,
        margin: (mean(chosen) - mean(rejected)) / deviation,
        right: rank(chosen, rejected),
      };
    });
    return cell.judged;
  }

  const rank = (chosen, rejected) =>
    mean(chosen.flatMap((won) => rejected.map((lost) => (1 + Math.sign(won - lost)) / 2)));

  function selectedCells() {
    const [subject, seed] = [find("subject").value, find("seed").value];
    return state.collection.cells.filter(
      (cell) => cell.subject === subject && (seed === "" || String(cell.seed) === seed));
  }

  function buildRows() {
    const { collection } = state;
    const byKind = Map.groupBy
      ? Map.groupBy(selectedCells(), (cell) => cell.kind)
      : selectedCells().reduce((map, cell) =>
        map.set(cell.kind, [...(map.get(cell.kind) ?? []), cell]), new Map());
    state.kinds = [...byKind.keys()];
    const titles = snippets(collection);
    state.rows = collection.ids.map((id, index) => {
      const verdicts = state.kinds.map((kind) => {
        const judged = byKind.get(kind).map((cell) => judge(collection, cell)[index]);
        return {
          margin: mean(judged.map((each) => each.margin)),
          right: mean(judged.map((each) => each.right)),
          runs: judged.length,
        };
      });
      const tokens = collection.tokens?.[index];
      return {
        index,
        id,
        verdicts,
        title: titles[index],
        disagree: new Set(verdicts.map((each) => Math.sign(each.right - 0.5))).size > 1,
        longerLoses: tokens ? rank(tokens[0], tokens[1]) < 0.5 : false,
      };
    });
    buildHead();
    refresh();
  }

  // Prompts as one tells them apart: without a beginning that all of them share.
  function snippets(collection) {
    if (!collection.prompts) return collection.ids;
    const prompts = collection.prompts.map((text) => data.texts[text]);
    let shared = prompts[0].length;
    for (const prompt of prompts) {
      while (!prompt.startsWith(prompts[0].slice(0, shared))) shared -= 1;
    }
    const cut = prompts[0].slice(0, shared).lastIndexOf(" ") + 1;
    return cut > 20 && prompts.length > 1 ? prompts.map((prompt) => `… ${prompt.slice(cut)}`) : prompts;
  }

  function words(row) {
    const { collection } = state;
    const all = [row.id];
    if (collection.prompts) {
      const responses = [...collection.chosen[row.index], ...collection.rejected[row.index]];
      all.push(data.texts[collection.prompts[row.index]], ...responses.map((text) => data.texts[text]));
    }
    return all.join("\n").toLowerCase();
  }

  function refresh() {
    const query = find("search").value.trim().toLowerCase();
    const [disagree, longer] = [find("disagree").checked, find("longer").checked];
    state.visible = state.rows.filter((row) =>
      (!disagree || row.disagree) && (!longer || row.longerLoses)
      && (!query || words(row).includes(query)));
    const value = (row) => (typeof sort.key === "number" ? row.verdicts[sort.key].margin
      : sort.key === "title" ? row.title : row.index);
    const order = (a, b) => (typeof a === "string" ? a.localeCompare(b) : a - b);
    state.visible.sort((a, b) =>
      (sort.descending ? -1 : 1) * order(value(a), value(b)) || a.index - b.index);
    state.shown = PAGE;
    render();
  }

  function buildHead() {
    const columns = [["index", "#"], ["title", state.collection.prompts ? "prompt" : "id"],
      ...state.kinds.map((kind, number) => [number, kind])];
    find("head").replaceChildren(...columns.map(([key, label]) => {
      const button = make("button", { type: "button" }, label);
      if (typeof key === "number") {
        button.prepend(make("span", { className: "swatch" }));
        button.firstChild.style.background = data.colours[label];
      }
      const cell = make("th", { scope: "col" }, button);
      cell.dataset.key = key;
      button.addEventListener("click", () => {
        sort.descending = sort.key === key ? !sort.descending : false;
        sort.key = key;
        refresh();
      });
      return cell;
    }));
  }

  function render() {
    const { visible, shown, collection } = state;
    body.replaceChildren(...visible.slice(0, shown).map(rowElement));
    body.firstElementChild?.setAttribute("tabindex", "0");
    for (const cell of find("head").children) {
      const isKey = cell.dataset.key === String(sort.key);
      cell.setAttribute("aria-sort", isKey ? (sort.descending ? "descending" : "ascending") : "none");
    }
    find("more").hidden = visible.length <= shown;
    const missing = collection.without_texts ? ` ${collection.without_texts}` : "";
    find("status").textContent =
      `${visible.length} of ${state.rows.length} records.${missing}`;
  }

  function rowElement(row) {
    const title = make("th", { scope: "row" }, make("span", { className: "snippet" }, row.title));
    const element = make("tr", { tabIndex: -1 }, make("td", {}, String(row.index + 1)), title,
      ...row.verdicts.map(verdictCell));
    element.setAttribute("aria-haspopup", "dialog");
    element.addEventListener("click", () => open(row));
    return element;
  }

  // A verdict with its margin, and in how many of several runs it is right.
  function verdictCell({ margin, right, runs }) {
    const mark = right > 0.5 ? "right" : right < 0.5 ? "wrong" : "even";
    const sign = { right: "✓", wrong: "✗", even: "=" }[mark];
    const cell = make("td", { className: `verdict ${mark}` },
      make("span", { className: "mark", title: mark }, sign), ` ${signed(margin)}`);
    if (runs > 1) {
      const count = `${Number((right * runs).toFixed(1))}/${runs}`;
      cell.append(make("span", { className: "share", title: "right in so many runs" }, count));
    }
    return cell;
  }

  body.addEventListener("keydown", (event) => {
    const row = event.target.closest("tr");
    const move = {
      ArrowDown: row.nextElementSibling,
      ArrowUp: row.previousElementSibling,
      Home: body.firstElementChild,
      End: body.lastElementChild,
    };
    if (event.key in move) {
      event.preventDefault();
      if (!move[event.key]) return;
      row.tabIndex = -1;
      move[event.key].tabIndex = 0;
      move[event.key].focus();
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      row.click();
    }
  });

  // One record: its texts side by side, and what every model gave to them.
  function open(row) {
    const { collection } = state;
    state.open = row;
    dialog.querySelector("h3").textContent = `${collection.set}, record ${row.index + 1}`;
    const content = dialog.querySelector(".content");
    content.replaceChildren(make("p", { className: "muted" }, `id ${row.id}`));
    if (collection.prompts) content.append(...textBlocks(collection, row));
    else content.append(make("p", {}, collection.without_texts));
    content.append(rewardTable(collection, row), ...counterpartLinks(collection, row),
      ...explainCommands(collection, row));
    if (!dialog.open) dialog.showModal();
    content.scrollTop = 0;
  }

  function textBlocks(collection, row) {
    const tokens = collection.tokens?.[row.index];
    const panel = (side, number, text) => {
      const length = tokens ? `, ${tokens[side === "chosen" ? 0 : 1][number]} tokens` : "";
      return make("div", { className: "card" }, make("h4", {}, `${side}${length}`),
        make("p", { className: "text" }, data.texts[text]));
    };
    return [
      make("h4", {}, "prompt"), make("p", { className: "text prompt" },
        data.texts[collection.prompts[row.index]]),
      make("div", { className: "grid" },
        ...collection.chosen[row.index].map((text, number) => panel("chosen", number, text)),
        ...collection.rejected[row.index].map((text, number) => panel("rejected", number, text))),
    ];
  }

  function rewardTable(collection, row) {
    const line = (cell) => {
      const { chosen, rejected, margin, right } = judge(collection, cell)[row.index];
      const list = (values) => values.map((each) => each.toPrecision(4).replace("-", "−")).join(", ");
      return make("tr", {}, make("th", { scope: "row" }, cell.kind),
        make("td", {}, String(cell.seed)), make("td", {}, list(chosen)),
        make("td", {}, list(rejected)), verdictCell({ margin, right }));
    };
    const heads = ["kind", "seed", "reward, chosen", "reward, rejected", "margin / s"];
    const table = make("table", {},
      make("caption", {}, `Rewards by ${find("subject").value}; s is the standard deviation of `
        + "all rewards of that model on this set."),
      make("thead", {}, make("tr", {}, ...heads.map((head) => make("th", { scope: "col" }, head)))),
      make("tbody", {}, ...selectedCells().map(line)));
    return make("div", { className: "scroll", tabIndex: 0 }, table);
  }

  // What to type in a shell for an explanation of a record, by each run that is shown.
  function explainCommands(collection, row) {
    if (!collection.data) return [];
    const number = collection.places?.[row.index];
    const name = number === undefined
      ? `--id '${row.id.replaceAll("'", "'\\''")}'` : `--row ${number}`;
    const commands = selectedCells().map((cell) => {
      const text = `rewardgap explain ${cell.folder} --data ${collection.data} ${name} `
        + `--out ${cell.kind.replace(/\W/g, "-")}-${cell.seed}-record-${row.index + 1}.html`;
      const button = make("button", { type: "button" }, "Copy");
      button.setAttribute("aria-label", `Copy the command for ${cell.kind}, seed ${cell.seed}`);
      button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(text);
        button.textContent = "Copied";
      });
      return make("p", { className: "command" }, button, make("code", {}, text));
    });
    return [make("details", {}, make("summary", {}, "Why these rewards?"), ...commands)];
  }

  function counterpartLinks(collection, row) {
    const holds = (ids, others) => {
      const known = new Set(ids);
      return others.every((id) => known.has(id));
    };
    const counterpart = (each) => {
      if (holds(each.ids, collection.ids) || holds(collection.ids, each.ids)) {
        return each.ids.indexOf(collection.ids[row.index]);
      }
      if (each.places && collection.places) {
        return each.places.indexOf(collection.places[row.index]);
      }
      return each.ids.length === collection.ids.length ? row.index : -1;
    };
    const related = data.collections.filter((each) =>
      each !== collection && each.experiment === collection.experiment
      && counterpart(each) >= 0
      && (each.shift_of === collection.set || collection.shift_of === each.set));
    if (!related.length) return [];
    const buttons = related.map((each) => {
      const button = make("button", { type: "button" }, each.set);
      button.addEventListener("click", () => {
        const index = counterpart(each);
        chooseCollection(each);
        open(state.rows[index]);
      });
      return button;
    });
    return [make("p", { className: "related" }, "The same record in: ", ...buttons)];
  }

  function step(by) {
    const place = state.visible.indexOf(state.open);
    const next = state.visible[place + by];
    if (next) open(next);
  }

  dialog.querySelector("[data-part=close]").addEventListener("click", () => dialog.close());
  dialog.querySelector("[data-part=previous]").addEventListener("click", () => step(-1));
  dialog.querySelector("[data-part=next]").addEventListener("click", () => step(1));
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => {
    const place = state.visible.indexOf(state.open);
    body.children[place]?.focus();
  });

  function options(select, values, labels = values) {
    const before = select.value;
    select.replaceChildren(...values.map((value, number) =>
      make("option", { value }, labels[number])));
    if (values.includes(before)) select.value = before;
    select.closest("label").hidden = values.length < 2;
  }

  function chooseCollection(collection) {
    state.collection = collection;
    find("experiment").value = collection.experiment;
    const own = data.collections.filter((each) => each.experiment === collection.experiment);
    options(find("set"), own.map((each) => each.set));
    find("set").value = collection.set;
    options(find("subject"), [...new Set(collection.cells.map((cell) => cell.subject))]);
    chooseSubject();
  }

  function chooseSubject() {
    const seeds = [...new Set(state.collection.cells
      .filter((cell) => cell.subject === find("subject").value).map((cell) => String(cell.seed)))];
    options(find("seed"), ["", ...seeds], ["mean of all", ...seeds]);
    buildRows();
  }

  const chosenCollection = () => data.collections.find((each) =>
    each.experiment === find("experiment").value && each.set === find("set").value);

  options(find("experiment"), [...new Set(data.collections.map((each) => each.experiment))]);
  find("experiment").addEventListener("change", () => chooseCollection(
    data.collections.find((each) => each.experiment === find("experiment").value)));
  find("set").addEventListener("change", () => chooseCollection(chosenCollection()));
  find("subject").addEventListener("change", chooseSubject);
  find("seed").addEventListener("change", buildRows);
  find("search").addEventListener("input", refresh);
  find("disagree").addEventListener("change", refresh);
  find("longer").addEventListener("change", refresh);
  find("more").addEventListener("click", () => {
    state.shown += PAGE;
    render();
  });
  chooseCollection(data.collections[0]);
  section.dataset.ready = "true";
})();
