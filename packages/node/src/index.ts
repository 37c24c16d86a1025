export * from './nats/connect.js';
export * from './nats/topology-store.js';
