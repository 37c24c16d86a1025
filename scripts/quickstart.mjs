// `npm run quickstart`: what spill does, on this machine, with real transactions. Begins with the Node version, before
// anything is loaded that an older Node could not read.
const [major, minor] = process.versions.node.split('.').map(Number);

if (major < 20 || (major === 20 && minor < 19)) {
  console.error(`spill needs Node 20.19 or newer; this is Node ${process.versions.node} (${process.execPath}).`);
  console.error('Get one from https://nodejs.org, or with your version manager, and run this again.');
  process.exitCode = 1;
} else {
  const { main } = await import('./quickstart/main.mjs');
  await main();
}
