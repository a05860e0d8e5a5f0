/** What `import` of the package gives. */
export { Saytics, Saytics as default } from './saytics.js';
