export function buildFolder(): string;
export function findBuild(): string | undefined;
export function findGo(): string | undefined;
export function build(): string;
