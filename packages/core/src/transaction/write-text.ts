const encoder = new TextEncoder();

/** Writes UTF-8 and returns its bytes. ASCII, as most is, by hand: a call of the encoder costs more. Text never is cut. */
export function writeText(bytes: Uint8Array, at: number, text: string, bytesMax: number): number {
  if (text.length > bytesMax) throw new RangeError(`text of more than ${bytesMax} bytes`);
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit >= 0x80) {
      const { read, written } = encoder.encodeInto(text, bytes.subarray(at, at + bytesMax));
      if (read < text.length) throw new RangeError(`text of more than ${bytesMax} bytes`);
      return written;
    }
    bytes[at + i] = unit;
  }
  return text.length;
}
