/** A start that can't succeed until somebody changes something; the message says what. Shown without a stack. */
export class StartError extends Error {
  override readonly name = 'StartError';
}
