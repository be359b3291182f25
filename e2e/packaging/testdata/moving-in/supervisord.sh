. /srv/shop/env
cat >/etc/supervisor/conf.d/shop.conf <<END
[program:shop]
command=/srv/shop/current/venv/bin/gunicorn --workers 2 --threads 2 --bind 127.0.0.1:8000 shop.wsgi
directory=/srv/shop/current
user=shop
environment=SECRET_KEY="$SECRET_KEY"
autostart=true
autorestart=true
stopasgroup=true
redirect_stderr=true
stdout_logfile=/var/log/supervisor/shop.log

[program:shop-celery]
command=/srv/shop/current/venv/bin/celery -A shop worker --loglevel INFO --concurrency 2
directory=/srv/shop/current
user=shop
environment=SECRET_KEY="$SECRET_KEY"
autostart=true
autorestart=true
stopwaitsecs=600
END
cat >/etc/nginx/conf.d/shop.conf <<'END'
server {
    listen 80;
    server_name shop.example.com;

    location /static/ { alias /srv/shop/current/static/; }
    location /media/  { alias /srv/shop/media/; }

    location / {
        proxy_pass http://127.0.0.1:8000;
        proxy_set_header Host $host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
    }
}
END
systemctl daemon-reload
systemctl start redis-server supervisor nginx
for program in shop shop-celery; do
	timeout 60 sh -c "until supervisorctl status $program | grep -q RUNNING; do sleep 0.2; done"
done
# the next deploy's release: its virtualenv was made in its own directory
cp -a /srv/shop/releases/2026-11-01 /srv/shop/releases/2026-11-02
sed -i s/2026-11-01/2026-11-02/ /srv/shop/releases/2026-11-02/venv/bin/[a-z]* /srv/shop/releases/2026-11-02/venv/pyvenv.cfg
