/** What a fold met belongs to no single account: nothing is set aside for it, the fold waits. */
export class BlockedError extends Error {}
