import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { SETTING_DEFINITIONS } from '@spill/node';
import { expect, test } from 'vitest';

const README = readFileSync(fileURLToPath(new URL('../../README.md', import.meta.url)), 'utf8');

test('the settings table of README.md is what the code has', () => {
  const rows = README.split('\n')
    .map((line) => /^\| `(\w+)` +\| (.+?) +\| (.+?) +\|$/.exec(line))
    .filter((match) => match !== null)
    .map(([, key, value, help]) => ({ key, value, help }));
  const wanted = Object.entries(SETTING_DEFINITIONS).map(([key, definition]) => {
    const { defaultText, help }: { defaultText?: string; help: string } = definition;
    return { key, value: defaultText ?? String(definition.default), help };
  });
  expect(rows.filter(({ key }) => wanted.some((definition) => definition.key === key))).toEqual(wanted);
});
