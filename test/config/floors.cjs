// The floors of src/README.md: imports go down only, and rooms on one floor do not import each other.
const floors = [
  ['core'],
  ['objects', 'tokens', 'policy', 'audit'],
  ['store', 'net'],
  ['trust', 'secrets', 'ledger'],
  ['clients', 'standing', 'limits', 'keys', 'upstream'],
  ['exchange', 'status', 'admin', 'egress'],
  ['http'],
  ['config', 'cli', 'compose', 'service', 'main'],
];
// Rooms of one floor that may be used by their siblings: the shapes of registered objects are read by policy and tokens;
// config and cli are the composition root's own.
const open = {
  objects: ['policy', 'audit'],
  config: ['cli', 'compose', 'service', 'main'],
  cli: ['service', 'main'],
  compose: ['service', 'main'],
  service: ['main'],
};
const room = (name) => {
  if (name === 'compose') return '^src/compose(/|\\.ts$)';
  return ['main', 'service'].includes(name) ? `^src/${name}\\.ts$` : `^src/${name}/`;
};

const forbidden = [{ name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } }];
floors.forEach((rooms, floor) => {
  for (const name of rooms) {
    const above = floors.slice(floor + 1).flat();
    const siblings = rooms.filter((other) => other !== name && !(open[other] ?? []).includes(name));
    const banned = [...above, ...siblings];
    if (banned.length > 0)
      forbidden.push({
        name: `floors-${name}`,
        severity: 'error',
        from: { path: room(name) },
        to: { path: banned.map(room) },
      });
  }
});
forbidden.push(
  {
    name: 'side-doors',
    severity: 'error',
    from: { path: '^src/(client|resource-server)/' },
    to: { path: '^src/', pathNot: '^src/(client|resource-server|core|tokens|policy|audit|objects)/' },
  },
  {
    name: 'conformance-alone',
    severity: 'error',
    from: { path: '^conformance/' },
    to: { path: '^(src|deploy|test)/' },
  },
  { name: 'src-alone', severity: 'error', from: { path: '^src/' }, to: { path: '^(test|deploy|conformance)/' } },
);

module.exports = {
  forbidden,
  options: {
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    doNotFollow: { path: 'node_modules' },
  },
};
