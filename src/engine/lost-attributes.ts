/**
 * What `load`, `import` and `commit` tell of attributes that files of an image had to do without.
 */
export { lostSentence, type LostAttribute } from '../archive/lost-attributes.js';
