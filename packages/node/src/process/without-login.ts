/** URLs as they may be shown: without user, password and token. */
export function withoutLogin(urls: string): string {
  return urls.replace(/:\/\/[^/@,]*@/g, '://');
}
