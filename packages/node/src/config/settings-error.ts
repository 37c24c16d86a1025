/** Something in the configuration can't be used. The message holds one line a problem: key, value, the way out. */
export class SettingsError extends Error {
  override readonly name = 'SettingsError';

  constructor(readonly problems: readonly string[]) {
    super(problems.join('\n'));
  }
}
