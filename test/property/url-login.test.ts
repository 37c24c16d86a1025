import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { urlLogin } from '../../packages/node/dist/nats/url-login.js';

describe('the login in a URL', () => {
  it('is user and password, or a token, and leaves the URL without it', () => {
    expect(urlLogin('nats://bob:p%40ss:word@host:4222')).toEqual({
      servers: ['nats://host:4222'],
      user: 'bob',
      pass: 'p@ss:word',
    });
    expect(urlLogin(['host:1', 'tls://s3cret@other'])).toEqual({ servers: ['host:1', 'tls://other'], token: 's3cret' });
    expect(urlLogin('nats://[::1]:4222')).toEqual({ servers: ['nats://[::1]:4222'] });
  });

  it('comes back whatever it is made of', () => {
    const text = fc.string({ minLength: 1 });
    fc.assert(
      fc.property(text, text, (user, pass) => {
        const url = `nats://${encodeURIComponent(user)}:${encodeURIComponent(pass)}@host`;
        expect(urlLogin(url)).toEqual({ servers: ['nats://host'], user, pass });
      }),
    );
  });
});
