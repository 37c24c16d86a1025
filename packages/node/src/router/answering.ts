import { encodingOf, SpillError, serviceErrorReply, wholeField } from '@spill/core';
import type { ServiceEndpoint, ServiceRequest } from '../nats/service.js';
import type { InboundLag } from './inbound-lag.js';

/** How long a client waits where it does not say so. */
export const DEADLINE_MS_DEFAULT = 5_000;
export const DEADLINE_MS_MAX = 600_000;

/** The part of a deadline that is kept for the answer's way back, so that it is not late for whoever waits. */
const WAY_BACK_MS_MAX = 100;

/**
 * Once requests wait this long before they are looked at, they are refused unread until they don't: what can't be done
 * in time is told so at once, and what is taken is answered in bounded time.
 */
export const INBOUND_LAG_MS_MAX = 1_000;

/** Answers a request with the reply's body, or throws the error to answer with. */
export type Answer = (body: Uint8Array, deadlineMs: number) => Promise<Uint8Array>;

/** Counts the requests under way, so that a router that stops can answer them first. */
export class Answering {
  private underWay = 0;
  private whenIdle: (() => void)[] = [];

  constructor(
    private readonly lag: Pick<InboundLag, 'ms'>,
    private readonly logError: (message: string) => void,
  ) {}

  /** `atOnceMax`: past it, requests are answered `overloaded`. */
  endpoint(name: string, subject: string, atOnceMax: number, answer: Answer): ServiceEndpoint {
    let atOnce = 0;
    const handle = async (request: ServiceRequest): Promise<void> => {
      this.underWay += 1;
      atOnce += 1;
      try {
        if (this.lag.ms > INBOUND_LAG_MS_MAX) throw overloaded('requests wait too long for this router', 500);
        if (atOnce > atOnceMax) throw overloaded(`more than ${atOnceMax} requests of this kind at once`, 100);
        request.respond(await answer(request.data, deadlineOf(request)));
      } catch (error) {
        this.answerError(request, name, error);
      } finally {
        atOnce -= 1;
        if (--this.underWay === 0) for (const resolve of this.whenIdle.splice(0)) resolve();
      }
    };
    return { name, subject, handler: (request) => void handle(request) };
  }

  idle(): Promise<void> {
    if (this.underWay === 0) return Promise.resolve();
    return new Promise((resolve) => this.whenIdle.push(resolve));
  }

  private answerError(request: ServiceRequest, name: string, error: unknown): void {
    const known = error instanceof SpillError ? error : new SpillError('internal', `${name} failed: ${text(error)}`);
    if (known.code === 'internal') this.logError(known.message);
    const { status, description, body } = serviceErrorReply(known, encodingOf(request.data));
    try {
      request.respondError(status, description, body);
    } catch (failure) {
      // The connection is gone, and with it whoever asked.
      this.logError(`${name} could not be answered: ${text(failure)}`);
    }
  }
}

function overloaded(message: string, retryAfterMs: number): SpillError {
  return new SpillError('overloaded', message, { retryAfterMs });
}

function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function deadlineOf(request: ServiceRequest): number {
  const header = request.header('Spill-Deadline-Ms');
  if (header === undefined) return DEADLINE_MS_DEFAULT - WAY_BACK_MS_MAX;
  const deadlineMs = wholeField(header, 1, DEADLINE_MS_MAX);
  if (typeof deadlineMs === 'number') return deadlineMs - Math.min(WAY_BACK_MS_MAX, deadlineMs / 10);
  throw new SpillError('malformed', `the header Spill-Deadline-Ms is ${JSON.stringify(header)}: ${deadlineMs.must}`);
}
