"""The server: `app.build_app` puts it together from routes, pages and who may do what."""
