// What is typed as text, taken apart and changed in place: patterns such as "X..x-.3. | x...", lanes such as "400 . 800".
// Spaces and bars stay where they are.

const SIGNS = /[^\s|]/g, WORDS = /[^\s|]+/g;
export const KINDS = { ".": "rest", "-": "tie", _: "tie", x: "hit", X: "accent" };
const NEXT = { ".": "x", x: "X", X: ".", "-": ".", _: "." };

export const signsOf = (pattern) => pattern.match(SIGNS) ?? [];
export const wordsOf = (text) => text.match(WORDS) ?? [];
export const kindOf = (sign) => KINDS[sign] ?? "strong";
export const nextSign = (sign) => NEXT[sign] ?? "X"; // one that has a strength of its own becomes an accent

function replaced(text, parts, at, by) {
  let n = 0;
  return text.replace(parts, (part) => (n++ === at ? by : part));
}

export const withSign = (pattern, at, sign) => replaced(pattern, SIGNS, at, sign);
export const withWord = (text, at, word) => replaced(text, WORDS, at, word);

/** A pattern with so many steps more, or less. */
export function resized(pattern, by) {
  if (by > 0) return `${pattern}${".".repeat(by)}`;
  let text = pattern;
  for (let n = by; n < 0; n++) text = text.replace(/[^\s|][\s|]*$/, "");
  return text.trimEnd();
}

/** [steps, beats] of a division: so many steps to so many beats. */
export function divisionOf(data) {
  const [steps, beats] = String(data.division ?? 4).split("/").map(Number);
  return [steps || 4, beats || 1];
}

/** How many hits a pattern has before its step `at`. */
export const hitsBefore = (signs, at) => signs.slice(0, at).filter((sign) => !".-_".includes(sign)).length;
