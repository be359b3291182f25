# The site for Puma: puma.
require "digest/sha2" # explicitly: autoloading on first use is not thread-safe
require "json"
require "uri"

NAME = ENV["SUPERCTL_RELEASE"]
CHUNK = (0..255).to_a.pack("C*") * 256
STREAM = [CHUNK] * 32 # 2 MiB

def answer(status, body)
  send_chunks(status, "application/json", [JSON.dump(body), "\n"])
end

def send_chunks(status, type, chunks)
  headers = {
    "content-type" => type, "x-release" => NAME,
    "x-generation" => ENV["SUPERCTL_GENERATION"].to_s, "x-pid" => Process.pid.to_s,
  }
  [status, headers, chunks]
end

# As docs/long-lived-connections.md asks of programs.
class SayClose
  FLAG = ENV["SUPERCTL_DRAIN"] && File.open(ENV["SUPERCTL_DRAIN"])

  def initialize(app) = @app = app

  def call(env)
    status, headers, body = @app.call(env)
    headers["connection"] = "close" if FLAG && FLAG.pread(1, 0) == "\x01"
    [status, headers, body]
  end
end

use SayClose

run(lambda do |env|
  case env["PATH_INFO"]
  when "/", "/healthz/"
    answer(200, release: NAME)
  when "/slow"
    query = URI.decode_www_form(env["QUERY_STRING"]).to_h
    sleep Float(query["s"] || "1")
    sleep 0.02 while query["until"] && !File.exist?(query["until"])
    answer(200, release: NAME)
  when "/stream"
    send_chunks(200, "application/octet-stream", STREAM)
  when "/echo"
    answer(200, sha256: Digest::SHA256.hexdigest(env["rack.input"].read.to_s))
  else
    answer(404, error: "not found")
  end
end)
