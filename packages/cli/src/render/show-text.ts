/** What a terminal could take for a command, or what could turn the order of what stands beside it. */
const UNSAFE = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** Text of others (accounts, ids, reasons) as it may be written to a terminal: on one line, without control characters. */
export function showText(text: string): string {
  return text.replace(UNSAFE, (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`);
}
