package bundles

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"superctl/e2e/harness"
)

// s3 is a real S3 server on loopback.
type s3 struct {
	address string
	client  *minio.Client
}

const accessKey, secretKey = "AKIAEXAMPLE", "a-secret-of-the-tests"

func startS3(t *testing.T) *s3 {
	t.Helper()
	var out bytes.Buffer
	deps := exec.Command(filepath.Join("..", "..", "scripts", "deps"), "--s3")
	deps.Stdout, deps.Stderr = &out, os.Stderr
	must(t, deps.Run())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	s := &s3{address: l.Addr().String()}
	must(t, l.Close())
	data := t.TempDir()
	cmd := exec.Command(strings.TrimSpace(out.String()), "--port", s.address, "--access", accessKey, "--secret",
		secretKey, "--quiet", "posix", "--nometa", data)
	said, err := os.Create(filepath.Join(t.TempDir(), "log"))
	must(t, err)
	defer said.Close()
	cmd.Dir, cmd.Stdout, cmd.Stderr = data, said, said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	s.client, err = minio.New(s.address,
		&minio.Options{Creds: credentials.NewStaticV4(accessKey, secretKey, ""), Region: "us-east-1"})
	must(t, err)
	ctx, cancel := harness.Limited(t.Context())
	defer cancel()
	harness.Eventually(t, "the S3 server answers", func() bool {
		err = s.client.MakeBucket(ctx, "releases", minio.MakeBucketOptions{})
		return err == nil
	}, func() string {
		text, _ := os.ReadFile(said.Name())
		return fmt.Sprintf("%v\n%s", err, text)
	})
	return s
}

func (s *s3) put(t *testing.T, key, file string) {
	t.Helper()
	_, err := s.client.FPutObject(t.Context(), "releases", key, file, minio.PutObjectOptions{})
	must(t, err)
}

// TestABundleComesFromS3 uses credentials from where the AWS tools find them.
func TestABundleComesFromS3(t *testing.T) {
	server := startS3(t)
	dir := t.TempDir()
	t.Chdir(dir)
	keygen := exec.Command(run.Binary, "keygen", "shop")
	if out, err := keygen.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	signed := signedBundle(t, filepath.Join(dir, "shop.key"))
	server.put(t, "shop/small-1.0.tar.zst", signed)
	server.put(t, "shop/small-1.0.tar.zst.minisig", signed+".minisig")
	server.put(t, "unsigned.tar.zst", signed)
	a := site(t, "small", harness.Options{More: fmt.Sprintf("[trust]\nkeys = [%q]\n", filepath.Join(dir, "shop.pub"))})
	write(t, dir, ".aws/credentials",
		fmt.Sprintf("[ci]\naws_access_key_id = %s\naws_secret_access_key = %s\n", accessKey, secretKey),
		".aws/config", fmt.Sprintf("[profile ci]\nregion = us-east-1\nendpoint_url = http://%s\n", server.address))

	environ := []string{"HOME=" + dir, "AWS_EC2_METADATA_DISABLED=true"}
	install := func(word string, env ...string) (string, int) {
		cmd := exec.Command(run.Binary, "--config", a.Config, "install", word)
		cmd.Env = append(append(environ, "PATH=/usr/bin:/bin"), env...)
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil {
			t.Fatal(err)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
	endpoint := "AWS_ENDPOINT_URL=http://" + server.address
	for _, c := range []struct {
		word, says string
		env        []string
	}{
		{
			"s3://releases/unsigned.tar.zst", "it is not signed, and [trust] requires a signature of",
			[]string{"AWS_PROFILE=ci"},
		},
		{"s3://releases/none.tar.zst", "The specified key does not exist", []string{"AWS_PROFILE=ci"}},
		{
			"s3://releases/shop/small-1.0.tar.zst", "credentials come from AWS_ACCESS_KEY_ID",
			[]string{endpoint, "AWS_ACCESS_KEY_ID=" + accessKey, "AWS_SECRET_ACCESS_KEY=wrong"},
		},
		{"s3://releases/shop/small-1.0.tar.zst", "Access Denied", []string{endpoint}},
		{
			"s3://releases/shop/small-1.0.tar.zst", "the credentials of AWS_PROFILE=nobody",
			[]string{endpoint, "AWS_PROFILE=nobody"},
		},
	} {
		if out, code := install(c.word, c.env...); code != 1 || !strings.Contains(out, c.says) {
			t.Errorf("%s %v: exit code %d, and it does not say %q:\n%s", c.word, c.env, code, c.says, out)
		}
	}
	if out, code := install("s3://releases/shop/small-1.0.tar.zst", "AWS_PROFILE=ci"); code != 0 ||
		!strings.Contains(out, "from s3://releases/shop/small-1.0.tar.zst") ||
		!strings.Contains(out, "signed with the key") {
		t.Errorf("exit code %d\n%s", code, out)
	}
	if out, code := install("s3://releases/shop/small-1.0.tar.zst", endpoint, "AWS_ACCESS_KEY_ID="+accessKey,
		"AWS_SECRET_ACCESS_KEY="+secretKey); code != 0 || !strings.Contains(out, "already installed") {
		t.Errorf("exit code %d\n%s", code, out)
	}
	if got := listed(t, a); got != ".superctl 1.0" {
		t.Errorf("left: %s", got)
	}
}

func signedBundle(t *testing.T, key string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "requirements.txt", "", "app.py", "", "superctl.toml",
		"app = \"small\"\n[process.web]\ncommand = \"true\"\n")
	commit(t, dir)
	return build(t, 0, cache(), dir, "--version", "1.0", "-o", t.TempDir(), "--sign", key).File
}
