import pc from 'picocolors';

export type Colors = ReturnType<typeof pc.createColors>;

/** For whoever does not write to a terminal. */
export const PLAIN: Colors = pc.createColors(false);
