// The masks that an ambiguous click can mean, and which of them the next click takes.

import { on, store, update } from "./store.js";

const ORDINALS = ["best", "second", "third"];
/** How many masks the last preview offered; null before it answers. */
let offered = null;

export function nextCandidate() {
	const count = offered ?? ORDINALS.length;
	update({ candidate: ((store.candidate ?? 0) + 1) % count });
}

export function chosenMask(result) {
	const { candidates = [] } = result;
	if (store.candidate === null || !candidates.length) return { mask: result.mask, text: "" };
	offered = candidates.length;
	const index = store.candidate % candidates.length;
	return { mask: candidates[index].mask, text: `${index + 1} of ${candidates.length}  ${candidates[index].score.toFixed(2)}` };
}

/** Fields of a prompt that takes the chosen mask, if it is a click that includes. */
export function candidateOf(prompt) {
	const positive = prompt.points?.every(([, , label]) => label === 1);
	return store.candidate !== null && positive ? { candidate: store.candidate % (offered ?? ORDINALS.length) } : {};
}

export const candidateHint = () => store.candidate === null ? ""
	: offered === 1 ? " A click here can only mean one mask."
		: ` The next click takes the ${ORDINALS[store.candidate]} mask. C: the next one.`;

export function forgetCandidate() {
	offered = null;
	if (store.candidate !== null) update({ candidate: null });
}

on("stream selected", forgetCandidate);
