// The masks that an ambiguous click can mean: a key, the wheel or a button chooses another one before the click.

import { on, store, update } from "./store.js";

const ORDINALS = ["best", "second", "third"];
/** How many masks the last preview offered; null before it answers. */
let offered = null;

/** Choose the next of the masks that a click at this place can mean. */
export function nextCandidate() {
  const count = offered ?? ORDINALS.length;
  update({ candidate: ((store.candidate ?? 0) + 1) % count });
}

/** Choose the mask of a preview: the chosen candidate, or the one that a plain click gives. */
export function chosenMask(result) {
  const { candidates = [] } = result;
  if (store.candidate === null || !candidates.length) return { mask: result.mask, text: "" };
  offered = candidates.length;
  const index = store.candidate % candidates.length;
  return { mask: candidates[index].mask, text: `${index + 1} of ${candidates.length}  ${candidates[index].score.toFixed(2)}` };
}

/** Fields of a prompt that takes the chosen mask; nothing for boxes and for clicks that exclude. */
export function candidateOf(prompt) {
  const positive = prompt.points?.every(([, , label]) => label === 1);
  return store.candidate !== null && positive ? { candidate: store.candidate % (offered ?? ORDINALS.length) } : {};
}

/** What the next click takes, for people. */
export const candidateHint = () => store.candidate === null ? ""
  : offered === 1 ? " A click here can only mean one mask."
    : ` The next click takes the ${ORDINALS[store.candidate]} mask. C: the next one.`;

export function forgetCandidate() {
  offered = null;
  if (store.candidate !== null) update({ candidate: null });
}

on("stream selected", forgetCandidate);
