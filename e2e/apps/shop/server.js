// The site for Node: node server.js. It listens on its inherited descriptor, as docs/servers.md describes. On SIGTERM it
// finishes its requests and exits.
"use strict";
const crypto = require("node:crypto");
const fs = require("node:fs");
const http = require("node:http");
const path = require("node:path");

const release = path.basename(__dirname);
const pattern = Buffer.from(Array.from({ length: 2 << 20 }, (_, i) => i % 256));

function answer(response, status, body) {
  send(response, status, "application/json", Buffer.from(JSON.stringify(body) + "\n"));
}

function send(response, status, type, content) {
  response.writeHead(status, {
    "Content-Type": type,
    "Content-Length": content.length,
    "X-Release": release,
    "X-Generation": process.env.SUPERCTL_GENERATION || "",
    "X-Pid": String(process.pid),
  });
  response.end(content);
}

const server = http.createServer((request, response) => {
  const url = new URL(request.url, "http://localhost");
  if (url.pathname === "/" || url.pathname === "/healthz/") {
    answer(response, 200, { release });
  } else if (url.pathname === "/slow") {
    const until = url.searchParams.get("until");
    const look = () => (until && !fs.existsSync(until) ? setTimeout(look, 20) : answer(response, 200, { release }));
    setTimeout(look, 1000 * Number(url.searchParams.get("s") || "1"));
  } else if (url.pathname === "/stream") {
    send(response, 200, "application/octet-stream", pattern);
  } else if (url.pathname === "/echo") {
    const hash = crypto.createHash("sha256");
    request.on("data", (chunk) => hash.update(chunk));
    request.on("end", () => answer(response, 200, { sha256: hash.digest("hex") }));
  } else {
    answer(response, 404, { error: "not found" });
  }
});

// As docs/long-lived-connections.md asks of programs.
const flag = process.env.SUPERCTL_DRAIN ? fs.openSync(process.env.SUPERCTL_DRAIN) : -1;
const byte = Buffer.alloc(1);
server.prependListener("request", (request, response) => {
  if (flag >= 0 && fs.readSync(flag, byte, 0, 1, 0) === 1 && byte[0] === 1) response.setHeader("Connection", "close");
});

server.listen({ fd: 3 });
process.on("SIGTERM", () => {
  server.close(() => process.exit(0)); // stops accepting, closes idle connections, and the others after their responses
});
