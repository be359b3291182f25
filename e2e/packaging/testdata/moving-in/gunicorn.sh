cat >/etc/systemd/system/orders.service <<'END'
[Unit]
Description=Orders
After=network.target

[Service]
User=orders
WorkingDirectory=/srv/orders
EnvironmentFile=/srv/orders/.env
ExecStart=/srv/orders/venv/bin/gunicorn --workers 2 --threads 2 --bind 127.0.0.1:8000 orders:app
ExecReload=/bin/kill -s HUP $MAINPID
Restart=on-failure

[Install]
WantedBy=multi-user.target
END
cat >/etc/nginx/conf.d/orders.conf <<'END'
server {
    listen 80;
    server_name orders.example.com;

    location / {
        proxy_pass http://127.0.0.1:8000;
        proxy_set_header Host $host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
    }
}
END
systemctl daemon-reload
systemctl enable --quiet --now orders
systemctl start nginx
