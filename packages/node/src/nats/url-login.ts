export interface UrlLogin {
  /** The servers, without what stood before the `@`. */
  readonly servers: string[];
  readonly user?: string;
  readonly pass?: string;
  readonly token?: string;
}

/**
 * What stands before the `@` of a server's URL, as every other NATS client reads it: `nats://user:password@host`, or
 * `nats://token@host`. The client library here takes it only as options. The first URL that has it counts for all.
 */
export function urlLogin(servers: string | readonly string[]): UrlLogin {
  let login: Omit<UrlLogin, 'servers'> = {};
  const plain = (typeof servers === 'string' ? [servers] : servers).map((server) => {
    const match = /^([a-z]+:\/\/)?([^@/]*)@(.*)$/.exec(server);
    if (!match) return server;
    const [, scheme = '', before = '', rest = ''] = match;
    if (Object.keys(login).length === 0) login = loginOf(before);
    return scheme + rest;
  });
  return { servers: plain, ...login };
}

function loginOf(before: string): Omit<UrlLogin, 'servers'> {
  const colon = before.indexOf(':');
  if (colon < 0) return { token: decodeURIComponent(before) };
  return { user: decodeURIComponent(before.slice(0, colon)), pass: decodeURIComponent(before.slice(colon + 1)) };
}
