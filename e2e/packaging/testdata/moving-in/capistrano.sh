cat >/etc/systemd/system/blog.service <<'END'
[Unit]
Description=Blog
After=network.target

[Service]
User=blog
WorkingDirectory=/srv/blog/current
EnvironmentFile=/srv/blog/shared/env
ExecStart=/srv/blog/current/venv/bin/gunicorn --workers 2 --bind 127.0.0.1:8000 blog.wsgi
ExecReload=/bin/kill -s HUP $MAINPID

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
        proxy_pass http://127.0.0.1:8000;
        proxy_set_header Host $host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
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
