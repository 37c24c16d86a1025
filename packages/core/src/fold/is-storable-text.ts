const UNSTORABLE = /[\0\p{Cs}]/u;

/**
 * Whether a SQL text column can hold this: no U+0000 and no lone surrogate (which would be written as U+FFFD, so that
 * two ids become one). Everything that comes through the edges is; the fold asks again, since it must never stop.
 */
export function isStorableText(text: string): boolean {
  return !UNSTORABLE.test(text);
}
