// The cables that come into a module, with their depth and offset, as rows of its card.
import { make, numberIn } from "./dom.js";

const plain = (v) => String(Number(v.toPrecision(4)));

/** What a cable does beside passing on what it is given, in a few signs; "" for nothing. */
export function wordsOf(cable) {
  const words = [];
  if (cable.depth !== undefined && cable.depth !== 1) words.push(`×${plain(cable.depth)}`);
  if (cable.offset) words.push(`${cable.offset > 0 ? "+" : "−"}${plain(Math.abs(cable.offset))}`);
  if (cable.is_feedback) words.push("feedback");
  return words.join(" ");
}

/** Rows for the cables of a card. edit(address, ...args): an edit of the pending patch. */
export function rowsOf(cables, edit) {
  return cables.map((cable) => {
    const { source, dest } = cable, depth = cable.depth ?? 1, offset = cable.offset ?? 0, port = dest.includes(".") ? dest.split(".").pop() : "";
    const name = `${source} to ${dest}`;
    const field = (words, value, kind) => make("input", { type: "text", inputMode: "decimal", value: String(value), ariaLabel: `${words} of ${name}`, data: { cable: `${source}>${dest}`, kind } });
    const depths = field("depth", depth, "depth"), offsets = field("offset", offset, "offset");
    const set = () => {
      const [d, o] = [numberIn(depths), numberIn(offsets)];
      if (d === null || o === null) [depths.value, offsets.value] = [String(depth), String(offset)];
      else if (d !== depth || o !== offset) edit("/patch/connect", source, dest, "depth", d, "offset", o, "feedback", cable.is_feedback ? 1 : 0);
    };
    for (const one of [depths, offsets]) one.addEventListener("change", set);
    const cut = make("button", { className: "cut", textContent: "✕", title: `/patch/disconnect ${source} ${dest}`, ariaLabel: `remove the cable from ${name}` });
    cut.addEventListener("click", () => edit("/patch/disconnect", source, dest));
    return make("div", { className: `cable ${cable.state}${cable.is_changed ? " new" : ""}`, title: `${source} → ${dest}${cable.is_feedback ? ", 64 frames later" : ""}: what comes out is x × depth + offset` },
      make("span", { className: "from", textContent: `${cable.is_feedback ? "↺ " : ""}${source} → ${port || "in"}` }), make("span", { className: "dim", textContent: "×" }), depths, make("span", { className: "dim", textContent: "+" }), offsets, cut);
  });
}
