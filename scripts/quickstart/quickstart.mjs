/**
 * The quick start: real payment orders through a real cluster on this machine, one of its processes killed on the way,
 * and every balance compared with what the file alone says.
 */
import { fileURLToPath } from 'node:url';
import { emptyFolder } from './folder.mjs';
import { startNode } from './node.mjs';
import { readOrders } from './orders.mjs';
import { say } from './show.mjs';
import { story } from './story.mjs';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const FOLDER_NAME = '.spill-quickstart';
const FILE_NAME = 'examples/payment-orders.csv';
const LARGE_THRESHOLD = 80_000;

/** @returns {Promise<boolean>} whether everything is right */
export async function quickstart({ natsServer, signal }) {
  const folder = `${ROOT}${FOLDER_NAME}`;
  await emptyFolder(folder);
  const file = `${ROOT}${FILE_NAME}`;
  const orders = readOrders(file);
  const args = ['--large-threshold', String(LARGE_THRESHOLD), '--create-accounts', '--node-name', 'quickstart'];
  const node = await startNode({ folder, args, natsServer, signal });
  let right;
  try {
    say(`\nA node on ${node.url}, everything embedded, its files in ${FOLDER_NAME}.`);
    right = await story({ url: node.url, folder, file, orders, signal });
  } finally {
    const clean = await node.stop();
    if (!clean) right = false;
    say(clean ? '\nStopped; nothing is left running.' : '\nThe node did not stop by itself and was ended by force.');
  }
  whatNext();
  return right;
}

function whatNext() {
  say(`
Try next; the data is still there:

  npx spill-node start --data-dir ${FOLDER_NAME} --create-accounts

and in another terminal:

  npx spill balance bank-YZ
  npx spill transactions bank-central
  npx spill submit bank-YZ -1250 --id my-first
  npx spill doctor

README.md goes on from here.`);
}
