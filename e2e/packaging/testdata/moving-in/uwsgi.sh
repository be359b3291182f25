cat >/etc/blog-uwsgi.ini <<'END'
[uwsgi]
plugins = python3
chdir = /srv/blog/current
virtualenv = /srv/blog/current/venv
module = blog.wsgi:application
master = true
processes = 2
threads = 2
socket = 127.0.0.1:8000
die-on-term = true
vacuum = true
harakiri = 30
END
cat >/etc/systemd/system/blog.service <<'END'
[Unit]
Description=Blog

[Service]
User=blog
EnvironmentFile=/srv/blog/shared/env
ExecStart=/usr/bin/uwsgi --ini /etc/blog-uwsgi.ini
Restart=always
KillSignal=SIGQUIT
Type=notify
NotifyAccess=all

[Install]
WantedBy=multi-user.target
END
cat >/etc/nginx/conf.d/blog.conf <<'END'
server {
    listen 80;
    server_name blog.example.com;

    location /static/ { alias /srv/blog/current/static/; }
    location /media/  { alias /srv/blog/shared/media/; }

    location / {
        include uwsgi_params;
        uwsgi_pass 127.0.0.1:8000;
    }
}
END
systemctl daemon-reload
systemctl enable --quiet --now blog
systemctl start nginx
# the next deploy's release: its virtualenv was made in its own directory
cp -a /srv/blog/releases/20261101120000 /srv/blog/releases/20261102090000
sed -i s/20261101120000/20261102090000/ /srv/blog/releases/20261102090000/venv/bin/[a-z]* \
	/srv/blog/releases/20261102090000/venv/pyvenv.cfg
