export * from './edge.js';
export { Saytics as default } from './edge.js';
