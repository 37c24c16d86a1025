import { hashId } from '../shard/id-hash.js';
import { ACCOUNT_BYTES_MAX } from './transaction.js';
import { writeText } from './write-text.js';

const FIRST_PLACES = 64;
const NAME_BYTES_MAX = 1 + ACCOUNT_BYTES_MAX;

/** Of this process alone, so that nobody can send accounts that all fall into one place. */
const [k0 = 0, k1 = 0] = crypto.getRandomValues(new Int32Array(2));
const KEY = { k0, k1 };

/**
 * The accounts of a batch in the making, each once, as they will lie in it: behind their lengths. A name is written
 * first and looked up by its bytes then: a Map of the texts takes half as long again where most are new.
 */
export class AccountDictionary {
  count = 0;
  bytes = new Uint8Array(4 * NAME_BYTES_MAX);
  byteLength = 0;
  /** Open addressing: an account's number plus one, or 0. */
  private places = new Uint16Array(FIRST_PLACES);
  private hashes = new Uint32Array(FIRST_PLACES);
  private starts = new Uint32Array(FIRST_PLACES);

  numberOf(account: string): number {
    if (this.byteLength + NAME_BYTES_MAX > this.bytes.length) this.bytes = doubled(this.bytes);
    const at = this.byteLength;
    const length = writeText(this.bytes, at + 1, account, ACCOUNT_BYTES_MAX);
    this.bytes[at] = length;
    return this.find(at, at + 1 + length);
  }

  /** Empty again, with the memory that it has. */
  clear(): void {
    this.count = 0;
    this.byteLength = 0;
    this.places.fill(0);
  }

  /** The number of the account whose length and name lie at [from, to), behind all others: added where it is new. */
  private find(from: number, to: number): number {
    const hash = hashId(KEY, this.bytes, from, to);
    const mask = this.places.length - 1;
    let place = hash & mask;
    for (; this.places[place] !== 0; place = (place + 1) & mask) {
      const number = (this.places[place] as number) - 1;
      if (this.hashes[number] === hash && this.isAt(number, from, to)) return number;
    }
    const number = this.count++;
    this.places[place] = number + 1;
    this.hashes[number] = hash;
    this.starts[number] = from;
    this.byteLength = to;
    if (2 * this.count >= this.places.length) this.grow();
    return number;
  }

  private isAt(number: number, from: number, to: number): boolean {
    const { bytes } = this;
    const start = this.starts[number] as number;
    for (let i = 0; i < to - from; i++) if (bytes[start + i] !== bytes[from + i]) return false;
    return true;
  }

  private grow(): void {
    this.hashes = doubled(this.hashes);
    this.starts = doubled(this.starts);
    this.places = new Uint16Array(2 * this.places.length);
    const mask = this.places.length - 1;
    for (let number = 0; number < this.count; number++) {
      let place = (this.hashes[number] as number) & mask;
      while (this.places[place] !== 0) place = (place + 1) & mask;
      this.places[place] = number + 1;
    }
  }
}

function doubled<T extends Uint8Array<ArrayBuffer> | Uint32Array<ArrayBuffer>>(from: T): T {
  const to = new (from.constructor as new (length: number) => T)(2 * from.length);
  to.set(from);
  return to;
}
