/**
 * `npm start`: the first thing that a newcomer runs. With Node and npm alone it installs, builds and runs the demo
 * company; `--build-only` stops after the build, `--once` after the show.
 *
 * This file is written so that an old Node can still read it and say what is wrong; the work is in prepare.mjs.
 */
var version = process.versions.node.split('.').map(Number);
if (version[0] < 20 || (version[0] === 20 && version[1] < 19)) {
  console.error(
    'Cambist needs Node 20.19 or newer; this is Node ' + process.versions.node + ' (' + process.execPath + ').',
  );
  console.error('Get a newer one from https://nodejs.org, or with a version manager: nvm install 24');
  process.exit(1);
}

import('./prepare.mjs')
  .then(function (steps) {
    return steps.start(process.argv.slice(2));
  })
  .catch(function (error) {
    console.error(error);
    process.exitCode = 1;
  });
