/** False in a production build: the fake backend is not in it. */
declare const __FAKE__: boolean;
