# The site for Puma: puma.
require "digest"
require "json"
require "uri"

NAME = ENV["SUPERCTL_RELEASE"]

def answer(status, body)
  headers = {
    "content-type" => "application/json", "x-release" => NAME,
    "x-generation" => ENV["SUPERCTL_GENERATION"].to_s, "x-pid" => Process.pid.to_s,
  }
  [status, headers, [JSON.dump(body), "\n"]]
end

run(lambda do |env|
  case env["PATH_INFO"]
  when "/", "/healthz/"
    answer(200, release: NAME)
  when "/slow"
    query = URI.decode_www_form(env["QUERY_STRING"]).to_h
    sleep Float(query["s"] || "1")
    sleep 0.02 while query["until"] && !File.exist?(query["until"])
    answer(200, release: NAME)
  when "/echo"
    answer(200, sha256: Digest::SHA256.hexdigest(env["rack.input"].read.to_s))
  else
    answer(404, error: "not found")
  end
end)
