package install

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"gopkg.in/ini.v1"
)

// bucket is an S3 bucket, or one of a compatible server, configured like the AWS tools by the
// environment and their files.
type bucket struct {
	o        *Options
	core     minio.Core
	name     string
	settings s3Settings
}

// object is a file at s3://.
type object struct {
	*bucket
	key string
}

func (b *bucket) object(u *url.URL) *object { return &object{b, strings.TrimPrefix(u.Path, "/")} }

func (s *object) String() string { return "s3://" + s.name + "/" + s.key }

// metadataTime bounds the wait for the instance metadata service, which most machines do not have.
const metadataTime = 5 * time.Second

// s3Settings are the settings other than credentials that the AWS tools read from the environment
// and their files.
type s3Settings struct{ profile, region, endpoint string }

func readS3Settings(getenv func(string) string) s3Settings {
	s := s3Settings{profile: cmp.Or(getenv("AWS_PROFILE"), "default")}
	path := cmp.Or(getenv("AWS_CONFIG_FILE"), filepath.Join(getenv("HOME"), ".aws", "config"))
	s.region = cmp.Or(getenv("AWS_REGION"), getenv("AWS_DEFAULT_REGION"))
	s.endpoint = cmp.Or(getenv("AWS_ENDPOINT_URL_S3"), getenv("AWS_ENDPOINT_URL"))
	file, err := ini.LooseLoad(path)
	if err != nil {
		return s // reading the credentials reports the error
	}
	section := file.Section("profile " + s.profile)
	if s.profile == "default" && file.HasSection("default") {
		section = file.Section("default")
	}
	s.region = cmp.Or(s.region, section.Key("region").String())
	s.endpoint = cmp.Or(s.endpoint, section.Key("endpoint_url").String())
	return s
}

func (o *Options) openBucket(u *url.URL) (*bucket, error) {
	if u.Host == "" || strings.Trim(u.Path, "/") == "" || u.User != nil || u.RawQuery != "" {
		return nil, &SourceError{errors.New("write s3://BUCKET/KEY; " +
			"credentials come from AWS_PROFILE, ~/.aws or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")}
	}
	b := &bucket{o: o, name: u.Host, settings: readS3Settings(os.Getenv)}
	endpoint, err := url.Parse(cmp.Or(b.settings.endpoint, "https://s3.amazonaws.com"))
	if err != nil || endpoint.Host == "" {
		return nil, &SourceError{errors.New("the endpoint of AWS_ENDPOINT_URL is not an address such as " +
			"https://s3.example.com")}
	}
	if err := o.mayFetch(endpoint); err != nil {
		return nil, &SourceError{err}
	}
	creds, err := b.credentials(os.Getenv)
	if err != nil {
		return nil, err
	}
	client, err := minio.New(endpoint.Host, &minio.Options{
		Creds: creds, Secure: endpoint.Scheme == "https", Region: b.settings.region, MaxRetries: 1, // retry does that
		Transport: o.transport(),
	})
	b.core = minio.Core{Client: client}
	return b, err
}

// credentials returns the credentials that the AWS tools would use: from the environment, the
// profile's files, or the role of the container or the instance. Without any, the bucket must be
// public.
func (b *bucket) credentials(getenv func(string) string) (*credentials.Credentials, error) {
	file := &credentials.FileAWSCredentials{}
	providers := []credentials.Provider{&credentials.EnvAWS{}, file}
	if !strings.EqualFold(getenv("AWS_EC2_METADATA_DISABLED"), "true") {
		client := &http.Client{Timeout: metadataTime}
		providers = append(providers, &credentials.IAM{Client: client, Region: b.settings.region})
	}
	if getenv("AWS_PROFILE") != "" && getenv("AWS_ACCESS_KEY_ID") == "" {
		if _, err := file.RetrieveWithCredContext(nil); err != nil { // which the chain would pass over
			return nil, fmt.Errorf("the credentials of AWS_PROFILE=%s: %w", getenv("AWS_PROFILE"), withoutContent(err))
		}
	}
	return credentials.NewChainCredentials(providers), nil
}

// withoutContent reduces an error to the system's: the parser of the credentials file quotes its
// lines.
func withoutContent(err error) error {
	var file *fs.PathError
	switch {
	case errors.As(err, &file):
		return file
	case ini.IsErrDelimiterNotFound(err):
		return errors.New("the credentials file has a line that is neither [section] nor KEY = VALUE")
	}
	return errors.New("~/.aws/credentials and ~/.aws/config have no complete and current credentials for it (aws " +
		"configure list shows them)")
}

// transport returns a transport that uses proxies from the environment.
func (o *Options) transport() http.RoundTripper {
	return discreet{&http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: o.Idle}).DialContext,
		TLSHandshakeTimeout: o.Idle, ForceAttemptHTTP2: true, DisableCompression: true, DisableKeepAlives: true,
	}}
}

// discreet refuses a redirect to an address that cannot be parsed, before http.Client quotes it
// whole: the address may be presigned.
type discreet struct{ http.RoundTripper }

// RoundTrip does one request.
func (d discreet) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := d.RoundTripper.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if to := resp.Header.Get("Location"); to != "" {
		if _, err := req.URL.Parse(to); err != nil {
			unusable := errors.New("the server redirects to an address that cannot be parsed")
			return nil, errors.Join(&finalError{unusable}, resp.Body.Close())
		}
	}
	return resp, nil
}

func (s *object) open(ctx context.Context, from int64, tag string) (*stream, error) {
	w := s.o.watch(ctx)
	var get minio.GetObjectOptions
	if from > 0 {
		if err := errors.Join(get.SetRange(from, 0), get.SetMatchETag(tag)); err != nil {
			w.stop()
			return nil, &finalError{err}
		}
	}
	body, info, header, err := s.core.GetObject(w.ctx, s.name, s.key, get)
	if err != nil {
		err = w.explain(err)
		w.stop()
		if from > 0 && minio.ToErrorResponse(err).StatusCode == http.StatusPreconditionFailed {
			return s.open(ctx, 0, "")
		}
		return nil, s.refused(err)
	}
	out := &stream{ReadCloser: w.body(body), size: info.Size, tag: info.ETag}
	if part := header.Get("Content-Range"); part != "" {
		if _, err := fmt.Sscanf(part, "bytes %d-", &out.from); err != nil || out.from != from {
			wrong := fmt.Errorf("%s: the server sent another part than requested", s)
			return nil, errors.Join(&finalError{wrong}, out.Close())
		}
		out.size += from
	}
	return out, nil
}

// refused translates an answer that is not the object.
func (s *object) refused(err error) error {
	answer := minio.ToErrorResponse(err)
	said := fmt.Errorf("%s: %w", s, withoutAddress(err))
	switch {
	case answer.StatusCode == http.StatusNotFound:
		return missing(said)
	case answer.StatusCode == http.StatusForbidden, answer.StatusCode == http.StatusUnauthorized:
		return &finalError{fmt.Errorf("%w (credentials come from AWS_ACCESS_KEY_ID, "+
			"else from the profile %s in ~/.aws, else from the role of this machine)", said, s.settings.profile)}
	case answer.StatusCode >= http.StatusInternalServerError, answer.StatusCode == 0,
		answer.StatusCode == http.StatusTooManyRequests:
		return said
	}
	return &finalError{said}
}
