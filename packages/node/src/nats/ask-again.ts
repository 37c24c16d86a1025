/** The time between two questions; an answer that takes longer for another reason costs one question more. */
const EVERY_MS = 400;

/**
 * Asks JetStream, and asks again while no answer comes: what is asked while a stream elects its leader is answered by
 * nobody, and whoever waits for a time-out learns seconds late that there is a leader. The first that ends decides,
 * well or not; so `ask` has a time-out of its own, and the first one's is that of the whole. Only for questions: what
 * is written is sent once.
 */
export function askAgain<T>(ask: () => Promise<T>, everyMs = EVERY_MS): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setInterval(() => send(), everyMs);
    const send = (): void => {
      ask()
        .finally(() => clearInterval(timer))
        .then(resolve, reject);
    };
    send();
  });
}
